//! A TCP proxy that spoils what passes: it cuts connections at any byte of either
//! direction, in every way in which a network cuts them. What it does to the n-th
//! create follows from its seed and n.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// A create is about so long on its way up, and its answer on its way down; cuts
/// are drawn a little beyond.
const UP: usize = 900;
const DOWN: usize = 500;

/// A proxy at work. Dropping it ends it.
pub struct Proxy {
    /// Where it listens.
    pub address: SocketAddr,
    counts: Arc<Counts>,
    server: JoinHandle<()>,
}

#[derive(Default)]
struct Counts {
    creates: AtomicU64,
    cut: AtomicU64,
}

/// What is done to one connection.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Fault {
    /// Nothing.
    None,
    /// A piece at a time, with pauses.
    Drip,
    /// After so many bytes of this direction no more of it passes, and then this.
    Cut(Direction, usize, Ending),
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Direction {
    Up,
    Down,
}

/// How a cut looks to the client.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Ending {
    /// A reset.
    Reset,
    /// An orderly end.
    Close,
    /// An orderly end of what comes down; what goes up is still taken.
    HalfClose,
    /// Nothing for a while, and then a reset.
    BlackHole(Duration),
}

impl Fault {
    /// The fault of a create, of which so large a share is spoilt.
    fn draw(random: &mut StdRng, share: f64) -> Self {
        if !random.random_bool(share) {
            return Self::None;
        }
        let (direction, longest) = if random.random_bool(0.4) { (Direction::Up, UP) } else { (Direction::Down, DOWN) };
        let ending = match random.random_range(0..10) {
            0..4 => Ending::Reset,
            4..7 => Ending::Close,
            7..9 => Ending::HalfClose,
            _ => Ending::BlackHole(Duration::from_millis(random.random_range(100..1_500))),
        };
        if random.random_bool(0.05) {
            return Self::Drip;
        }
        Self::Cut(direction, random.random_range(0..longest), ending)
    }
}

impl Proxy {
    /// Begins to pass on what comes, and to spoil this share of the creates.
    pub async fn open(upstream: SocketAddr, seed: u64, share: f64) -> Result<Self, String> {
        let listener = TcpListener::bind("127.0.0.1:0").await.map_err(|error| format!("the proxy: {error}"))?;
        let address = listener.local_addr().map_err(|error| error.to_string())?;
        let counts = Arc::new(Counts::default());
        let server = tokio::spawn(serve(listener, upstream, seed, share, Arc::clone(&counts)));
        Ok(Self { address, counts, server })
    }

    /// How many creates came, and how many of them were cut before they were through.
    pub fn creates(&self) -> (u64, u64) {
        (self.counts.creates.load(Ordering::Relaxed), self.counts.cut.load(Ordering::Relaxed))
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.server.abort();
    }
}

async fn serve(listener: TcpListener, upstream: SocketAddr, seed: u64, share: f64, counts: Arc<Counts>) {
    while let Ok((client, _)) = listener.accept().await {
        let counts = Arc::clone(&counts);
        // Each ends with its connection, and that with the test's process at the latest.
        tokio::spawn(async move {
            // A connection that breaks is what this is for.
            let _ = pass(client, upstream, seed, share, &counts).await;
        });
    }
}

async fn pass(
    mut client: TcpStream,
    upstream: SocketAddr,
    seed: u64,
    share: f64,
    counts: &Counts,
) -> std::io::Result<()> {
    // Whether it is a create is told by its first bytes.
    let mut first = vec![0; 4];
    client.read_exact(&mut first).await?;
    let fault = match first == *b"POST" {
        false => Fault::None,
        true => {
            let number = counts.creates.fetch_add(1, Ordering::Relaxed);
            let mut random = StdRng::seed_from_u64(seed.wrapping_mul(1_000_003).wrapping_add(number));
            Fault::draw(&mut random, share)
        }
    };
    let (up_limit, down_limit) = match fault {
        Fault::Cut(Direction::Up, at, _) => (at, usize::MAX),
        Fault::Cut(Direction::Down, at, _) => (usize::MAX, at),
        Fault::None | Fault::Drip => (usize::MAX, usize::MAX),
    };
    let slow = fault == Fault::Drip;
    let mut server = TcpStream::connect(upstream).await?;
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    let began = &first[..first.len().min(up_limit)];
    server.write_all(began).await?;
    let up_left = up_limit - began.len();
    let (client_read, client_write) = client.into_split();
    let (server_read, server_write) = server.into_split();
    let mut up = Pipe { from: client_read, to: server_write, left: up_left, slow };
    let mut down = Pipe { from: server_read, to: client_write, left: down_limit, slow };
    let cut = tokio::select! {
        cut = up.run() => cut,
        cut = down.run() => cut,
    };
    match (cut, fault) {
        (true, Fault::Cut(_, _, ending)) => {
            counts.cut.fetch_add(1, Ordering::Relaxed);
            end(ending, up, down).await
        }
        // One side has ended by itself: what the other still says is passed on.
        _ => {
            let _ = tokio::join!(up.finish(), down.finish());
            Ok(())
        }
    }
}

/// Ends the client's side as asked. The server's side ends in an orderly way.
async fn end(ending: Ending, mut up: Pipe, mut down: Pipe) -> std::io::Result<()> {
    match ending {
        Ending::Close => {}
        Ending::HalfClose => {
            down.to.shutdown().await?;
            let _ = up.run().await;
            return Ok(());
        }
        Ending::Reset => {}
        Ending::BlackHole(pause) => tokio::time::sleep(pause).await,
    }
    let client = up.from.reunite(down.to).map_err(std::io::Error::other)?;
    if ending != Ending::Close {
        client.set_zero_linger()?;
    }
    drop(client);
    Ok(())
}

/// One direction of a connection.
struct Pipe {
    from: OwnedReadHalf,
    to: OwnedWriteHalf,
    /// How many bytes may still pass.
    left: usize,
    slow: bool,
}

impl Pipe {
    /// Passes bytes on until one side ends, which is false, or the limit is
    /// reached, which is true.
    async fn run(&mut self) -> bool {
        let mut piece = vec![0; if self.slow { 16 } else { 16 * 1024 }];
        while self.left > 0 {
            let room = piece.len().min(self.left);
            let Ok(count @ 1..) = self.from.read(&mut piece[..room]).await else { return false };
            if self.to.write_all(&piece[..count]).await.is_err() {
                return false;
            }
            self.left -= count;
            if self.slow {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        }
        true
    }

    /// Passes on what is left, and the end.
    async fn finish(&mut self) {
        self.run().await;
        let _ = self.to.shutdown().await;
    }
}
