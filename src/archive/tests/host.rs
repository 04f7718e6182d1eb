//! A host on loopback that answers each path with prepared bytes, well-formed HTTP
//! or not, and counts who connects.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// What a path answers with.
#[derive(Clone)]
pub(super) enum Script {
    /// These bytes, then the connection is closed.
    Close(Vec<u8>),
    /// These bytes, then silence.
    Hang(Vec<u8>),
    /// The first bytes, then the second ones for ever.
    Endless(Vec<u8>, Vec<u8>),
}

pub(super) struct Host {
    pub address: SocketAddr,
    connections: Arc<AtomicUsize>,
    task: tokio::task::JoinHandle<()>,
}

impl Host {
    pub async fn start(scripts: impl IntoIterator<Item = (&'static str, Script)>) -> Self {
        let scripts: Arc<HashMap<&str, Script>> = Arc::new(scripts.into_iter().collect());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let connections = Arc::new(AtomicUsize::new(0));
        let counter = connections.clone();
        let task = tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                counter.fetch_add(1, Ordering::SeqCst);
                tokio::spawn(answer(stream, scripts.clone()));
            }
        });
        Self { address, connections, task }
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn answer(mut stream: TcpStream, scripts: Arc<HashMap<&str, Script>>) {
    let mut request = Vec::new();
    while !request.ends_with(b"\r\n\r\n") {
        if stream.read_buf(&mut request).await.unwrap_or(0) == 0 {
            return;
        }
    }
    let text = String::from_utf8(request).unwrap();
    let path = text.split([' ', '?']).nth(1).unwrap();
    match scripts.get(path).cloned().unwrap_or(Script::Close(status(404, ""))) {
        Script::Close(bytes) => {
            let _ = stream.write_all(&bytes).await;
            let _ = stream.shutdown().await;
        }
        Script::Hang(bytes) => {
            let _ = stream.write_all(&bytes).await;
            tokio::time::sleep(Duration::from_secs(60)).await;
        }
        Script::Endless(first, again) => {
            let _ = stream.write_all(&first).await;
            while stream.write_all(&again).await.is_ok() {}
        }
    }
}

/// An answer without a body. `headers` are whole lines.
pub(super) fn status(code: u16, headers: &str) -> Vec<u8> {
    format!("HTTP/1.1 {code} x\r\ncontent-length: 0\r\n{headers}\r\n").into_bytes()
}

/// 200 with these header lines and this body, whatever the headers say of it.
pub(super) fn body(headers: &str, content: &[u8]) -> Vec<u8> {
    [format!("HTTP/1.1 200 OK\r\n{headers}\r\n").as_bytes(), content].concat()
}

/// 200 with a correct length.
pub(super) fn file(content: &[u8]) -> Vec<u8> {
    body(&format!("content-length: {}\r\n", content.len()), content)
}
