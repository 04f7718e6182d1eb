//! One connection played by the byte: how much of the request is read, what is
//! said, and how it ends. Every byte that came in is kept.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::oneshot;
use tokio::task::{JoinHandle, JoinSet};
use url::Url;

use crate::providers::scripted::install_crypto;

/// What happens on each connection.
#[derive(Clone, Debug)]
pub(super) struct Play {
    pub(super) read: Read,
    pub(super) say: Vec<u8>,
    pub(super) then: Then,
}

/// How much is read before anything is said.
#[derive(Clone, Copy, Debug)]
pub(super) enum Read {
    /// Nothing.
    Nothing,
    /// So many bytes.
    Some(usize),
    /// The request to its last byte.
    All,
}

/// How a connection ends.
#[derive(Clone, Copy, Debug)]
pub(super) enum Then {
    /// With a reset.
    Reset,
    /// In an orderly way.
    Close,
    /// The other side says no more and goes on listening.
    HalfClose,
    /// It does not: the other side stays, and says nothing.
    Silence,
    /// It does not: a blank follows every few milliseconds.
    Drip,
}

impl Play {
    /// The whole request is read, this is said, and so it ends.
    pub(super) fn says(say: impl Into<Vec<u8>>, then: Then) -> Self {
        Self { read: Read::All, say: say.into(), then }
    }
}

/// What was seen.
#[derive(Clone, Debug, Default)]
pub(super) struct Seen {
    /// On each connection that was made.
    pub(super) heard: Vec<Vec<u8>>,
    /// How many requests were begun.
    pub(super) requests: usize,
}

/// A listener that plays.
pub(super) struct Socket {
    pub(super) url: Url,
    heard: Arc<Mutex<Vec<Vec<u8>>>>,
    stop: oneshot::Sender<()>,
    served: JoinHandle<()>,
}

impl Socket {
    pub(super) async fn open(play: Play) -> Self {
        install_crypto();
        let socket = TcpSocket::new_v4().unwrap();
        // Small, so that a large request is still being written while this side acts.
        socket.set_recv_buffer_size(16 * 1024).unwrap();
        socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let listener = socket.listen(16).unwrap();
        let url = Url::parse(&format!("http://{}", listener.local_addr().unwrap())).unwrap();
        let heard: Arc<Mutex<Vec<Vec<u8>>>> = Arc::default();
        let (stop, stopped) = oneshot::channel();
        let served = tokio::spawn(serve(listener, play, Arc::clone(&heard), stopped));
        Self { url, heard, stop, served }
    }

    /// Takes what still waits to be accepted, and says what was seen.
    pub(super) async fn close(self) -> Seen {
        drop(self.stop);
        tokio::time::timeout(Duration::from_secs(10), self.served).await.expect("the client has let go").unwrap();
        let heard = std::mem::take(&mut *self.heard.lock().unwrap());
        let begun = |bytes: &Vec<u8>| bytes.windows(6).filter(|window| window == b"POST /").count();
        // A request of which less arrived than its first word counts as well.
        let cut = |bytes: &&Vec<u8>| !bytes.is_empty() && b"POST /".starts_with(bytes) && bytes.len() < 6;
        let requests = heard.iter().map(begun).sum::<usize>() + heard.iter().filter(cut).count();
        Seen { heard, requests }
    }
}

async fn serve(listener: TcpListener, play: Play, heard: Arc<Mutex<Vec<Vec<u8>>>>, mut stop: oneshot::Receiver<()>) {
    let mut connections = JoinSet::new();
    loop {
        let stream = tokio::select! {
            biased;
            Ok((stream, _)) = listener.accept() => stream,
            _ = &mut stop => break,
        };
        let (play, heard) = (play.clone(), Arc::clone(&heard));
        connections.spawn(async move {
            let bytes = perform(stream, play).await;
            heard.lock().unwrap().push(bytes);
        });
    }
    while connections.join_next().await.is_some() {}
}

async fn perform(mut stream: TcpStream, play: Play) -> Vec<u8> {
    let mut heard = Vec::new();
    match play.read {
        Read::Nothing => {}
        Read::Some(count) => hear(&mut stream, &mut heard, |heard| heard.len() >= count, count).await,
        Read::All => hear(&mut stream, &mut heard, is_whole, usize::MAX).await,
    }
    let _ = stream.write_all(&play.say).await;
    match play.then {
        Then::Reset => {
            let _ = stream.set_zero_linger();
            return heard;
        }
        Then::Close => {
            let _ = stream.shutdown().await;
            return heard;
        }
        Then::HalfClose => {
            let _ = stream.shutdown().await;
        }
        Then::Silence => {}
        Then::Drip => {
            while stream.write_all(b" ").await.is_ok() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        }
    }
    hear(&mut stream, &mut heard, |_| false, usize::MAX).await;
    heard
}

/// Reads until it is enough, never more than `most` bytes, or to the end.
async fn hear(stream: &mut TcpStream, heard: &mut Vec<u8>, enough: impl Fn(&[u8]) -> bool, most: usize) {
    let mut piece = vec![0; 64 * 1024];
    while !enough(heard) {
        let room = piece.len().min(most - heard.len());
        match stream.read(&mut piece[..room]).await {
            Ok(count) if count > 0 => heard.extend_from_slice(&piece[..count]),
            _ => return,
        }
    }
}

fn is_whole(heard: &[u8]) -> bool {
    let Some(head) = heard.windows(4).position(|window| window == b"\r\n\r\n") else { return false };
    let text = String::from_utf8_lossy(&heard[..head]).to_lowercase();
    let length = text.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse::<usize>().ok());
    heard.len() >= head + 4 + length.unwrap_or(0)
}
