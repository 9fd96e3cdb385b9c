//! What all styles share: `common` computes, the style waits.
