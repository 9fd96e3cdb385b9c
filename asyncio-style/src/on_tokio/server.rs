//! server: answer every connection at the same time.
//! One task per connection, all on one thread: `.await` hands the thread back to the loop.
//! Run it: cargo run -p asyncio-style -- --loop tokio server

use std::future::pending;
use std::io;
use std::net;
use std::os::unix;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UnixStream};
use tokio::select;
use tokio::sync::watch::{Receiver, channel};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use common::http::conn::{Conn, Wants};
use common::limits::{BUFFER, Limits};
use common::workload::server::{ACCEPT_BACKOFF, ConnectionStats, ServerStats, is_exhausted};

pub async fn run(
    listener: net::TcpListener,
    stop: unix::net::UnixStream,
    limits: Limits,
) -> io::Result<ServerStats> {
    listener.set_nonblocking(true)?;
    stop.set_nonblocking(true)?;
    let listener = TcpListener::from_std(listener)?;
    let stop = UnixStream::from_std(stop)?;
    let (shutdown, stopped) = channel(());
    let mut connections = Connections::new(limits, stopped);
    select! {
        () = accept(&listener, &mut connections) => {}
        _ = stop.readable() => {}
    }
    drop((listener, shutdown)); // the connections close within the grace period
    Ok(connections.join().await)
}

async fn accept(listener: &TcpListener, connections: &mut Connections) {
    loop {
        match listener.accept().await {
            Ok((socket, _)) => connections.start(socket),
            Err(error) if is_exhausted(&error) => sleep(ACCEPT_BACKOFF).await,
            Err(_) => {} // the client has already disconnected
        }
    }
}

async fn serve(mut socket: TcpStream, mut conn: Conn, mut stop: Receiver<()>) -> ConnectionStats {
    select! {
        () = answer(&mut socket, &mut conn) => {}
        _ = stop.changed() => {}
    }
    // After a shutdown, a request that has begun is still answered.
    conn.shutdown_requested();
    answer(&mut socket, &mut conn).await;
    ConnectionStats::of(&conn)
}

async fn answer(socket: &mut TcpStream, conn: &mut Conn) {
    while conn.wants() != Wants::Close {
        let result = timeout(conn.time_left(), exchange(socket, conn)).await;
        let result = result.unwrap_or_else(|late| Err(late.into()));
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
            socket.shutdown().await?;
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
    tasks: JoinSet<ConnectionStats>,
    stats: ServerStats,
}

impl Connections {
    fn new(limits: Limits, stop: Receiver<()>) -> Connections {
        Connections { limits, stop, tasks: JoinSet::new(), stats: ServerStats::default() }
    }

    fn start(&mut self, socket: TcpStream) {
        while let Some(stats) = self.tasks.try_join_next() {
            // An error is a panic: it has been printed, and it ended only this connection.
            self.stats.end(stats.unwrap_or_default());
        }
        let full = self.stats.open >= self.limits.max_connections;
        let conn = if full { Conn::too_many(self.limits) } else { Conn::new(self.limits) };
        self.tasks.spawn_local(serve(socket, conn, self.stop.clone()));
        self.stats.begin();
    }

    async fn join(mut self) -> ServerStats {
        while let Some(stats) = self.tasks.join_next().await {
            self.stats.end(stats.unwrap_or_default());
        }
        self.stats
    }
}
