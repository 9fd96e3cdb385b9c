//! Where a body ends, in requests and in answers (RFC 9112, sections 6 and 7).
//!
//! `httparse` parses the heads. Its chunk sizes are not used: it allows a line feed in an
//! extension, which one peer takes for the end of the line and another does not.

use httparse::{EMPTY_HEADER, Header, Status, parse_headers};

use crate::http::page::number;

/// The part of a body that has not been read yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Body {
    /// So many bytes.
    Length(u64),
    Chunked(Chunk),
    /// As many bytes as arrive until the peer closes.
    UntilClosed,
}

/// What comes next in a chunked body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Chunk {
    Size,
    /// So many bytes of data.
    Data(u64),
    /// The end of the line behind the data.
    DataEnd,
    Trailers,
    End,
}

/// The message breaks the grammar, or peers could disagree on where its body ends. Such a message
/// lets one peer smuggle requests past another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Malformed;

impl Body {
    /// What the head says about the body, if it says anything.
    pub fn announced(headers: &[Header], http10: bool) -> Result<Option<Body>, Malformed> {
        let mut codings = values(headers, "transfer-encoding");
        let mut lengths =
            values(headers, "content-length").flat_map(|line| line.split(|b| *b == b','));
        match (codings.next(), lengths.next()) {
            (None, None) => Ok(None),
            (None, Some(length)) => {
                let digits = length.trim_ascii();
                let length = std::str::from_utf8(digits).ok().and_then(number).ok_or(Malformed)?;
                let same = lengths.all(|other| other.trim_ascii() == digits);
                if same { Ok(Some(Body::Length(length))) } else { Err(Malformed) }
            }
            (Some(coding), None) => {
                let chunked = coding.trim_ascii().eq_ignore_ascii_case(b"chunked");
                let clear = chunked && codings.next().is_none() && !http10;
                if clear { Ok(Some(Body::Chunked(Chunk::Size))) } else { Err(Malformed) }
            }
            (Some(_), Some(_)) => Err(Malformed),
        }
    }

    pub fn is_whole(&self) -> bool {
        matches!(self, Body::Length(0) | Body::Chunked(Chunk::End))
    }

    /// Reads on; `take` is given the data. Returns how many bytes of `input` were read. The others
    /// have to be passed again, with more after them.
    pub fn read(&mut self, input: &[u8], mut take: impl FnMut(&[u8])) -> Result<usize, Malformed> {
        let mut used = 0;
        loop {
            let rest = &input[used..];
            let step = match self {
                Body::UntilClosed => {
                    take(rest);
                    rest.len()
                }
                Body::Length(left) | Body::Chunked(Chunk::Data(left)) => {
                    let n = rest.len().min(usize::try_from(*left).unwrap_or(usize::MAX));
                    take(&rest[..n]);
                    *left -= n as u64;
                    n
                }
                Body::Chunked(chunk) => chunk.read(rest)?,
            };
            if *self == Body::Chunked(Chunk::Data(0)) {
                *self = Body::Chunked(Chunk::DataEnd);
            }
            used += step;
            if step == 0 || self.is_whole() {
                return Ok(used);
            }
        }
    }
}

impl Chunk {
    /// Reads what comes between the data.
    fn read(&mut self, input: &[u8]) -> Result<usize, Malformed> {
        match self {
            Chunk::Size => {
                let Some((size, line)) = chunk_size(input)? else { return Ok(0) };
                *self = if size == 0 { Chunk::Trailers } else { Chunk::Data(size) };
                Ok(line)
            }
            Chunk::DataEnd if input.starts_with(b"\r\n") => {
                *self = Chunk::Size;
                Ok(2)
            }
            Chunk::DataEnd if b"\r\n".starts_with(input) => Ok(0),
            Chunk::Trailers => {
                let mut headers = vec![EMPTY_HEADER; lines(input)];
                match parse_headers(input, &mut headers) {
                    Ok(Status::Partial) => Ok(0),
                    Ok(Status::Complete((used, _))) => {
                        *self = Chunk::End;
                        Ok(used)
                    }
                    Err(_) => Err(Malformed),
                }
            }
            Chunk::DataEnd | Chunk::Data(_) | Chunk::End => Err(Malformed),
        }
    }
}

/// A chunk's size, and how long its line is; none if more is needed. Extensions are ignored.
///
/// `chunk-size [ BWS ";" … ] CRLF`, and the size is `1*HEXDIG`: no sign, no blank before it.
fn chunk_size(input: &[u8]) -> Result<Option<(u64, usize)>, Malformed> {
    let end = input.iter().position(|&b| b != b'\t' && b.is_ascii_control());
    let (line, end) = input.split_at(end.unwrap_or(input.len()));
    let whole = match end {
        [b'\r', b'\n', ..] => true,
        [] | [b'\r'] => false,
        _ => return Err(Malformed),
    };
    let digits = line.iter().take_while(|b| b.is_ascii_hexdigit()).count();
    let (digits, extension) = line.split_at(digits);
    let extension = match extension.trim_ascii_start() {
        [] => extension.is_empty() || !whole,
        [first, ..] => *first == b';',
    };
    if digits.is_empty() && (whole || !line.is_empty() || !end.is_empty()) || !extension {
        return Err(Malformed);
    }
    if digits.is_empty() {
        return Ok(None);
    }
    let digits = std::str::from_utf8(digits).map_err(|_| Malformed)?;
    let size = u64::from_str_radix(digits, 16).map_err(|_| Malformed)?;
    Ok(whole.then_some((size, line.len() + 2)))
}

/// The values of all lines of this name.
pub(crate) fn values<'a>(
    headers: &'a [Header<'a>],
    name: &'static str,
) -> impl Iterator<Item = &'a [u8]> {
    headers.iter().filter(move |line| line.name.eq_ignore_ascii_case(name)).map(|line| line.value)
}

/// How many header lines there are in `input` at most.
pub(crate) fn lines(input: &[u8]) -> usize {
    input.split(|b| *b == b'\n').count()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers<'a>(lines: &[(&'a str, &'a str)]) -> Vec<Header<'a>> {
        lines.iter().map(|(name, value)| Header { name, value: value.as_bytes() }).collect()
    }

    #[test]
    fn a_head_says_where_its_body_ends() {
        let (length, coding) = ("Content-Length", "Transfer-Encoding");
        let chunked = Ok(Some(Body::Chunked(Chunk::Size)));
        for (lines, expected) in [
            (vec![], Ok(None)),
            (vec![("a", "5")], Ok(None)),
            (vec![(length, "5")], Ok(Some(Body::Length(5)))),
            (vec![(length, "5"), (length, "5")], Ok(Some(Body::Length(5)))),
            (vec![(length, "5, 5 ,5")], Ok(Some(Body::Length(5)))),
            (vec![(length, "\r\n 5")], Ok(Some(Body::Length(5)))),
            (vec![(length, "18446744073709551615")], Ok(Some(Body::Length(u64::MAX)))),
            (vec![(coding, "chunked")], chunked),
            (vec![(coding, "Chunked\t")], chunked),
            (vec![(coding, "\r\n chunked")], chunked),
        ] {
            assert_eq!(Body::announced(&headers(&lines), false), expected, "{lines:?}");
        }
        for lines in [
            vec![(length, "")],
            vec![(length, "+5")],
            vec![(length, "-5")],
            vec![(length, "0x5")],
            vec![(length, "5 5")],
            vec![(length, "5,")],
            vec![(length, "5,6")],
            vec![(length, "5"), (length, "6")],
            vec![(length, "18446744073709551616")],
            vec![(length, "5"), (coding, "chunked")],
            vec![(coding, "")],
            vec![(coding, "gzip")],
            vec![(coding, "identity")],
            vec![(coding, "xchunked")],
            vec![(coding, "chunked;a=b")],
            vec![(coding, "chunked, chunked")],
            vec![(coding, "gzip, chunked")],
            vec![(coding, "chunked, gzip")],
            vec![(coding, "gzip"), (coding, "chunked")],
            vec![(coding, "chunked"), (coding, "chunked")],
        ] {
            assert_eq!(Body::announced(&headers(&lines), false), Err(Malformed), "{lines:?}");
        }
        assert_eq!(Body::announced(&headers(&[(coding, "chunked")]), true), Err(Malformed));
    }

    /// Reads a chunked body: its data and how many bytes it is long, if it ends.
    fn chunks(input: &[u8], size: usize) -> Result<Option<(Vec<u8>, usize)>, Malformed> {
        let mut body = Body::Chunked(Chunk::Size);
        let (mut data, mut used, mut unread) = (Vec::new(), 0, Vec::new());
        for piece in input.chunks(size) {
            unread.extend_from_slice(piece);
            let n = body.read(&unread, |piece| data.extend_from_slice(piece))?;
            unread.drain(..n);
            used += n;
            if body.is_whole() {
                return Ok(Some((data, used)));
            }
        }
        Ok(None)
    }

    #[test]
    fn chunk_lines_are_read_as_the_grammar_says() {
        let long = format!("5;a=\"{}\"", "x".repeat(5000));
        for line in
            ["5", "05", "0000000000000000000000005", "5;a=b", "5;a", "5 ;a", "5\t; a = b", &long]
        {
            let body = format!("{line}\r\nhello\r\n0\r\n\r\n");
            for size in [1, 2, 7, body.len()] {
                let read = chunks(body.as_bytes(), size);
                assert_eq!(read, Ok(Some((b"hello".to_vec(), body.len()))), "{line:?} by {size}");
            }
        }
        for (line, data) in [("a", 10), ("A", 10), ("1F", 31)] {
            let body = format!("{line}\r\n{}\r\n0;x\r\nA: b\r\nc: d\r\n\r\nGET", "x".repeat(data));
            let read = chunks(body.as_bytes(), 3);
            assert_eq!(read, Ok(Some((vec![b'x'; data], body.len() - 3))), "{line:?}");
        }
    }

    #[test]
    fn other_chunk_lines_are_malformed_at_once() {
        for line in [
            "+5",
            "-5",
            " 5",
            "\t5",
            "\x0b5",
            "\u{a0}5",
            "\u{2003}5",
            "0x5",
            "5h",
            "h",
            "five",
            ";a",
            "5 5",
            "5\x0b",
            "5\0",
            "5\n",
            "5\r5",
            "5;a\n",
            "5;a\rb",
            "5;\x7f",
            "10000000000000000",
            "\n",
            "\r\n",
            "5 \r\n",
            "5\t\r\n",
        ] {
            for end in ["\r\nhello\r\n0\r\n\r\n", "\r\n"] {
                let body = format!("{line}{end}");
                for size in [1, body.len()] {
                    assert_eq!(chunks(body.as_bytes(), size), Err(Malformed), "{body:?} by {size}");
                }
            }
        }
        // An input that cannot become valid is malformed immediately.
        for start in
            ["+", " ", "g", "\n", "\r", "5\r5", "5\n", "5g", "5 5", "5\r\nhelloX", "5\r\nhello\rX"]
        {
            assert_eq!(chunks(start.as_bytes(), 1), Err(Malformed), "{start:?}");
        }
        for start in [
            "",
            "5",
            "5 ",
            "5;a",
            "5\r",
            "5\r\n",
            "5\r\nhello",
            "5\r\nhello\r",
            "0\r\n",
            "0\r\na: b\r\n\r",
        ] {
            assert_eq!(chunks(start.as_bytes(), 1), Ok(None), "{start:?}");
        }
    }

    #[test]
    fn trailers_are_header_lines() {
        for trailers in [
            "a",
            "a b: c\r\n",
            ": b\r\n",
            " a: b\r\n",
            "a: b\r\n c\r\n",
            "a: \0\r\n",
            "a\r\n",
            "a: b\rc\r\n",
        ] {
            let body = format!("0\r\n{trailers}\r\n");
            assert_eq!(chunks(body.as_bytes(), 1), Err(Malformed), "{trailers:?}");
        }
    }
}
