//! Builds and drives the programs of all styles.
