//! A web server that shares no code with the programs that fetch from it: its bytes are written by
//! hand, as real servers write them.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::LazyLock;
use std::thread;
use std::time::Duration;

/// Starts the server in a thread; it ends with the test program.
pub fn server() -> io::Result<SocketAddr> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    thread::spawn(move || {
        for client in listener.incoming().flatten() {
            thread::spawn(move || serve(client));
        }
    });
    Ok(address)
}

/// Paths with a page that arrives, and its body.
pub fn good() -> Vec<(&'static str, Vec<u8>)> {
    vec![
        ("/length", text(3000)),
        ("/empty", Vec::new()),
        ("/until-close", text(5000)),
        ("/http-1.0", text(777)),
        ("/chunked", text(10_000)),
        ("/chunked-with-all", text(300)),
        ("/early", text(50)),
        ("/byte-by-byte", text(400)),
        ("/chunked-byte-by-byte", text(200)),
        ("/large", text(1 << 20)),
        ("/large-chunked", text(1 << 20)),
        ("/large-until-close", text(1 << 20)),
    ]
}

/// Paths without a page, and the expected error of each.
pub const BROKEN: [(&str, &str); 9] = [
    ("/nothing", "closed before the end"),
    ("/half-a-head", "closed before the end"),
    ("/too-short", "closed before the end"),
    ("/chunk-missing", "closed before the end"),
    ("/no-http", "malformed answer"),
    ("/wrong-chunk", "malformed answer"),
    ("/reset", "connection reset"),
    ("/never", "timed out"),
    ("/drips-for-ever", "timed out"),
];

/// Some text of this length.
fn text(length: usize) -> Vec<u8> {
    (0..length).map(|n| b'a' + (n * n / 7 % 26) as u8).collect()
}

fn serve(mut client: TcpStream) -> io::Result<()> {
    client.set_nodelay(true)?;
    let mut request = Vec::new();
    let mut byte = [0];
    while !request.ends_with(b"\r\n\r\n") {
        if request == b"GET /reset " {
            // If it is closed with the rest unread, a socket resets the connection.
            return Ok(());
        }
        client.read_exact(&mut byte)?;
        request.push(byte[0]);
    }
    let request = String::from_utf8_lossy(&request).into_owned();
    let path = request.split(' ').nth(1).unwrap_or_default();
    let body = good().into_iter().find(|(p, _)| *p == path).map(|(_, body)| body);
    let body = body.unwrap_or_default();
    match path {
        "/length" | "/empty" | "/large" => {
            write!(client, "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len())?;
            client.write_all(&body)
        }
        "/until-close" | "/large-until-close" => {
            client.write_all(b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n\r\n")?;
            client.write_all(&body)
        }
        "/http-1.0" => {
            client.write_all(b"HTTP/1.0 200 Fine\r\nServer: old\r\n\r\n")?;
            client.write_all(&body)
        }
        "/chunked" | "/large-chunked" => {
            client.write_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")?;
            for piece in body.chunks(3001) {
                client.write_all(&chunk(piece, ""))?;
            }
            client.write_all(b"0\r\n\r\n")
        }
        "/chunked-with-all" => {
            // Extensions, capitals, leading zeros, trailers: all of it is in the standard.
            client.write_all(b"HTTP/1.1 200 OK\r\ntransfer-encoding: Chunked\r\n\r\n")?;
            for piece in body.chunks(171) {
                client.write_all(&chunk(piece, ";name=value"))?;
            }
            client.write_all(b"000\r\nX-Checked: yes\r\n\r\n")
        }
        "/early" => {
            client.write_all(b"HTTP/1.1 100 Continue\r\n\r\n")?;
            client.write_all(b"HTTP/1.1 103 Early Hints\r\nLink: </style.css>\r\n\r\n")?;
            write!(client, "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len())?;
            client.write_all(&body)
        }
        "/byte-by-byte" => {
            let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len());
            bytes(&mut client, &[head.as_bytes(), &body].concat())
        }
        "/chunked-byte-by-byte" => {
            let head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
            let all = [&head[..], &chunk(&body, ""), b"0\r\n\r\n"].concat();
            bytes(&mut client, &all)
        }
        "/nothing" => Ok(()),
        "/half-a-head" => client.write_all(b"HTTP/1.1 200 OK\r\nContent-Le"),
        "/too-short" => client.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nshort"),
        "/chunk-missing" => {
            client.write_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n")
        }
        "/no-http" => client.write_all(b"220 mail.example ESMTP\r\n\r\n"),
        "/wrong-chunk" => {
            client.write_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\nabc\r\n")
        }
        "/drips-for-ever" => {
            client.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n")?;
            loop {
                client.write_all(b".")?;
                thread::sleep(Duration::from_millis(20)); // this is the slow sending itself, not a wait
            }
        }
        // Until the client closes.
        "/never" => client.read(&mut byte).map(drop),
        _ => client.write_all(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"),
    }
}

fn chunk(piece: &[u8], extension: &str) -> Vec<u8> {
    [format!("{:X}{extension}\r\n", piece.len()).as_bytes(), piece, b"\r\n"].concat()
}

/// One packet per byte, as far as the kernel allows that.
fn bytes(client: &mut TcpStream, all: &[u8]) -> io::Result<()> {
    all.iter().try_for_each(|&byte| client.write_all(&[byte]))
}

/// CRC-32 as in zip and PNG, by a table of the effect of each byte: computed in another way than in
/// the programs.
pub fn crc32(bytes: &[u8]) -> u32 {
    static TABLE: LazyLock<[u32; 256]> = LazyLock::new(|| {
        let bit = |crc: u32| if crc & 1 == 1 { crc >> 1 ^ 0xEDB8_8320 } else { crc >> 1 };
        std::array::from_fn(|byte| (0..8).fold(byte as u32, |crc, _| bit(crc)))
    });
    !bytes.iter().fold(!0, |crc, byte| crc >> 8 ^ TABLE[usize::from(crc as u8 ^ byte)])
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_check_value_of_crc32() {
        assert_eq!(super::crc32(b"123456789"), 0xCBF4_3926);
    }
}
