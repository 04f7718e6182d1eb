//! A host of pictures: says what the test wants, and writes down who has asked.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};

/// What is answered under a path.
#[derive(Clone)]
pub enum Says {
    /// This file, and parts of it to whoever asks for a part.
    File(Vec<u8>),
    /// This file, whole, whatever was asked for.
    Whole(Vec<u8>),
    /// This status, with a page.
    Status(u16),
    /// This status and place.
    Redirect(u16, String),
    /// So many bytes were announced; only these come, and then the end.
    Cut(usize, Vec<u8>),
    /// A header, and then nothing more.
    Hang,
    /// For ever more bytes behind these.
    Endless(Vec<u8>),
}

/// The host.
pub struct Pictures {
    address: SocketAddr,
    says: Arc<Mutex<HashMap<String, Says>>>,
    asked: Arc<Mutex<Vec<String>>>,
    sent: Arc<Mutex<usize>>,
}

impl Pictures {
    /// A host on loopback.
    pub async fn new() -> Self {
        Self::at("127.0.0.1:0").await
    }

    /// A host at this address.
    pub async fn at(address: &str) -> Self {
        let listener = TcpListener::bind(address).await.unwrap();
        let address = listener.local_addr().unwrap();
        let host = Self { address, says: Arc::default(), asked: Arc::default(), sent: Arc::default() };
        let (says, asked, sent) = (Arc::clone(&host.says), Arc::clone(&host.asked), Arc::clone(&host.sent));
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (says, asked, sent) = (Arc::clone(&says), Arc::clone(&asked), Arc::clone(&sent));
                tokio::spawn(async move {
                    // Whoever has heard enough closes; that is no fault.
                    let _ = answer(stream, &says, &asked, &sent).await;
                });
            }
        });
        host
    }

    /// From now on this is answered under that path; its link.
    pub fn says(&self, path: &str, says: Says) -> String {
        self.says.lock().unwrap().insert(path.to_owned(), says);
        format!("http://{}{path}", self.address)
    }

    /// The paths that were asked for, each with its Range, in order; a connection
    /// without a request counts as one, too.
    pub fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }

    /// How many bytes of bodies were taken off us.
    pub fn sent(&self) -> usize {
        *self.sent.lock().unwrap()
    }
}

async fn answer(
    mut stream: TcpStream,
    says: &Mutex<HashMap<String, Says>>,
    asked: &Mutex<Vec<String>>,
    sent: &Mutex<usize>,
) -> std::io::Result<()> {
    let (reader, mut writer) = stream.split();
    let mut lines = BufReader::new(reader).take(16 * 1024).lines();
    let mut head = Vec::new();
    while let Some(line) = lines.next_line().await?.filter(|line| !line.is_empty()) {
        head.push(line);
    }
    let path = head.first().and_then(|line| line.split(' ').nth(1)).unwrap_or("no request").to_owned();
    let header = |name: &str| {
        let value = head.iter().find_map(|line| line.to_ascii_lowercase().strip_prefix(name).map(str::to_owned));
        value.unwrap_or_default().trim().to_owned()
    };
    let range = header("range:");
    assert_eq!((header("authorization:"), header("cookie:"), header("referer:")), Default::default());
    asked.lock().unwrap().push(format!("{path} {range}"));
    let said = says.lock().unwrap().get(&path).cloned().unwrap_or(Says::Status(404));
    let (status, headers, body, more) = match said {
        Says::File(file) => match range.strip_prefix("bytes=0-").and_then(|end| end.parse::<usize>().ok()) {
            Some(end) if !file.is_empty() => {
                let part = file[..file.len().min(end + 1)].to_vec();
                let range = format!("content-range: bytes 0-{}/{}\r\n", part.len() - 1, file.len());
                (206, format!("{range}content-length: {}\r\n", part.len()), part, false)
            }
            _ => (200, format!("content-length: {}\r\n", file.len()), file, false),
        },
        Says::Whole(file) => (200, format!("content-length: {}\r\n", file.len()), file, false),
        Says::Status(status) => (status, "content-length: 4\r\n".to_owned(), b"page".to_vec(), false),
        Says::Redirect(status, to) => (status, format!("location: {to}\r\ncontent-length: 0\r\n"), Vec::new(), false),
        Says::Cut(bytes, part) => (200, format!("content-length: {bytes}\r\n"), part, false),
        Says::Hang => {
            std::future::pending::<()>().await;
            return Ok(());
        }
        Says::Endless(start) => (200, String::new(), start, true),
    };
    let head = format!("HTTP/1.1 {status} X\r\n{headers}connection: close\r\n\r\n");
    writer.write_all(head.as_bytes()).await?;
    let mut piece = body;
    loop {
        writer.write_all(&piece).await?;
        *sent.lock().unwrap() += piece.len();
        if !more {
            return writer.shutdown().await;
        }
        piece = vec![0; 64 * 1024];
    }
}
