//! server: answer every connection at the same time.
//! One task per connection, all on one thread: `.await` hands the thread back to the loop.
//! Run it: cargo run -p asyncio-style -- --loop smol server

use std::future::pending;
use std::io;
use std::net::{self, Shutdown};
use std::os::unix;
use std::time::Instant;

use smol::Timer;
use smol::channel::{Receiver, Sender, bounded, unbounded};
use smol::future::FutureExt;
use smol::io::{AsyncReadExt, AsyncWriteExt};
use smol::net::unix::UnixStream;
use smol::net::{TcpListener, TcpStream};

use common::http::conn::{Conn, Wants};
use common::limits::{BUFFER, Limits};
use common::workload::server::{ACCEPT_BACKOFF, ConnectionStats, ServerStats, is_exhausted};

use super::late;
use super::task::spawn_local;

pub async fn run(
    listener: net::TcpListener,
    stop: unix::net::UnixStream,
    limits: Limits,
) -> io::Result<ServerStats> {
    let listener = TcpListener::try_from(listener)?;
    let mut stop = UnixStream::try_from(stop)?;
    let (shutdown, stopped) = bounded(1);
    let mut connections = Connections::new(limits, stopped);
    accept(&listener, &mut connections).or(async { drop(stop.read(&mut [0]).await) }).await;
    drop((listener, shutdown)); // the connections close within the grace period
    Ok(connections.join().await)
}

async fn accept(listener: &TcpListener, connections: &mut Connections) {
    loop {
        match listener.accept().await {
            Ok((socket, _)) => connections.start(socket),
            Err(error) if is_exhausted(&error) => drop(Timer::after(ACCEPT_BACKOFF).await),
            Err(_) => {} // the client has already disconnected
        }
    }
}

async fn serve(mut socket: TcpStream, mut conn: Conn, stop: Receiver<()>) -> ConnectionStats {
    let stopped = async { stop.recv().await.unwrap_or_default() };
    answer(&mut socket, &mut conn).or(stopped).await;
    // After a shutdown, a request that has begun is still answered.
    conn.shutdown_requested();
    answer(&mut socket, &mut conn).await;
    ConnectionStats::of(&conn)
}

async fn answer(socket: &mut TcpStream, conn: &mut Conn) {
    while conn.wants() != Wants::Close {
        let late = late(Instant::now() + conn.time_left());
        let result = exchange(socket, conn).or(late).await;
        conn.done(result);
    }
}

/// Does what the connection wants next.
async fn exchange(socket: &mut TcpStream, conn: &mut Conn) -> io::Result<()> {
    let mut buf = [0; BUFFER];
    match conn.wants() {
        Wants::Read => {
            let n = socket.read(&mut buf).await?;
            conn.received(&buf[..n]);
        }
        Wants::Write => {
            let n = socket.write(conn.output()).await?;
            conn.sent(n);
        }
        Wants::ShutdownWrite => {
            socket.shutdown(Shutdown::Write)?;
            conn.write_shut();
        }
        Wants::Wait => pending().await,
        Wants::Close => {}
    }
    Ok(())
}

/// The open connections, one task each.
struct Connections {
    limits: Limits,
    stop: Receiver<()>,
    ended: Sender<ConnectionStats>,
    ends: Receiver<ConnectionStats>,
    stats: ServerStats,
}

impl Connections {
    fn new(limits: Limits, stop: Receiver<()>) -> Connections {
        let (ended, ends) = unbounded();
        Connections { limits, stop, ended, ends, stats: ServerStats::default() }
    }

    fn start(&mut self, socket: TcpStream) {
        while let Ok(stats) = self.ends.try_recv() {
            self.stats.end(stats);
        }
        let full = self.stats.open >= self.limits.max_connections;
        let conn = if full { Conn::too_many(self.limits) } else { Conn::new(self.limits) };
        let (stop, ended) = (self.stop.clone(), self.ended.clone());
        let task = async move { ended.send(serve(socket, conn, stop).await).await };
        spawn_local(task).detach();
        self.stats.begin();
    }

    async fn join(mut self) -> ServerStats {
        drop(self.ended);
        while let Ok(stats) = self.ends.recv().await {
            self.stats.end(stats);
        }
        self.stats
    }
}
