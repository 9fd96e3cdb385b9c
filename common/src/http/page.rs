//! The pages that clients and servers both know: page N is the same text from every server.

/// A page is at least this long, in bytes.
pub const MIN_PAGE: u64 = 1024;
/// A page is at most this long, in bytes.
pub const MAX_PAGE: u64 = 16 * 1024 * 1024;

/// Every line of a page is this long, its newline included.
const LINE: usize = 64;

/// The body of page `n`, made piece by piece: `n` bytes of text, at least [`MIN_PAGE`] and at
/// [`MAX_PAGE`]. Each page has its own text, and it is always the same.
#[derive(Clone, Debug)]
pub struct Page {
    n: u64,
    at: u64,
    length: u64,
}

impl Page {
    /// Page `n`, from its beginning.
    pub fn new(n: u64) -> Page {
        Page { n, at: 0, length: n.clamp(MIN_PAGE, MAX_PAGE) }
    }

    /// An empty page: nothing is left of it.
    pub fn empty() -> Page {
        Page { n: 0, at: 0, length: 0 }
    }

    /// How many bytes are still to be made.
    pub fn left(&self) -> u64 {
        self.length - self.at
    }

    /// Appends the next bytes of the page, at most `most`.
    pub fn fill(&mut self, out: &mut Vec<u8>, most: usize) {
        let many = self.left().min(most as u64);
        let end = self.at + many;
        out.reserve(many as usize);
        let mut line = *b"page 00000000000000000000 line 00000000 -----------------------\n";
        digits(&mut line[5..25], self.n);
        while self.at < end {
            let number = self.at / LINE as u64;
            digits(&mut line[31..39], number);
            let turn = (self.n.wrapping_add(number) % 26) as usize;
            line[40..LINE - 1].copy_from_slice(&LETTERS[turn..turn + 23]);
            let from = (self.at % LINE as u64) as usize;
            let to = LINE.min(from + (end - self.at) as usize);
            out.extend_from_slice(&line[from..to]);
            self.at += (to - from) as u64;
        }
        // The last line is cut where the page ends; it still ends with a newline.
        if many > 0 && self.left() == 0 {
            let last = out.len() - 1;
            out[last] = b'\n';
        }
    }
}

/// The alphabet twice, so that each rotation of it is a slice.
const LETTERS: &[u8; 52] = b"abcdefghijklmnopqrstuvwxyzabcdefghijklmnopqrstuvwxyz";

fn digits(out: &mut [u8], mut number: u64) {
    for digit in out.iter_mut().rev() {
        *digit = b'0' + (number % 10) as u8;
        number /= 10;
    }
}

/// A number in digits. `u64::from_str` would accept a `+` too.
pub(crate) fn number(text: &str) -> Option<u64> {
    if !text.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    text.parse().ok()
}

/// The whole body of page `n`.
pub fn page(n: u64) -> Vec<u8> {
    let mut body = Vec::new();
    Page::new(n).fill(&mut body, MAX_PAGE as usize);
    body
}

/// The length and the CRC-32 of page `n`.
pub fn facts(n: u64) -> (u64, u32) {
    let body = page(n);
    (body.len() as u64, crc32fast::hash(&body))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_is_as_long_as_its_number() {
        for (n, length) in [
            (0, MIN_PAGE),
            (1024, 1024),
            (1025, 1025),
            (99_999, 99_999),
            (MAX_PAGE, MAX_PAGE),
            (u64::MAX, MAX_PAGE),
        ] {
            assert_eq!(facts(n).0, length, "page {n}");
        }
    }

    #[test]
    fn pages_are_lines_of_text_and_differ() {
        for n in 0..100 {
            let body = page(n);
            assert_ne!(body, page(n + 1));
            assert_ne!(facts(n).1, facts(n + 1).1);
            assert_eq!(body.last(), Some(&b'\n'));
            assert!(body.iter().all(|b| matches!(b, b'\n' | b' '..=b'~')));
        }
    }

    #[test]
    fn pieces_make_the_same_page() {
        for n in [0, 1024, 1087, 1088, 1089, 5000] {
            for most in [1, 7, 63, 64, 65, 1000, 10_000] {
                let mut body = Vec::new();
                let mut page = Page::new(n);
                while page.left() > 0 {
                    page.fill(&mut body, most);
                }
                assert_eq!(body, super::page(n), "page {n} by {most}");
            }
        }
    }
}
