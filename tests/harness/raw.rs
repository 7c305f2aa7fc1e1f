//! A receiver that speaks no HTTP of its own: the test says byte by byte what comes back.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

pub struct RawReceiver {
    port: u16,
    connections: Arc<AtomicUsize>,
    server: tokio::task::JoinHandle<()>,
}

impl RawReceiver {
    /// Talks on every connection as the function says; when it returns, the connection is closed.
    pub async fn start<T, F>(talk: T) -> RawReceiver
    where
        T: Fn(Conversation) -> F + Send + 'static,
        F: Future<Output = io::Result<()>> + Send + 'static,
    {
        Self::start_at(([127, 0, 0, 1], 0).into(), talk).await
    }

    /// The same on another address.
    pub async fn start_at<T, F>(address: SocketAddr, talk: T) -> RawReceiver
    where
        T: Fn(Conversation) -> F + Send + 'static,
        F: Future<Output = io::Result<()>> + Send + 'static,
    {
        let listener = TcpListener::bind(address).await.expect("the port is free");
        let port = listener.local_addr().expect("an address").port();
        let connections = Arc::new(AtomicUsize::new(0));
        let seen = connections.clone();
        let server = tokio::spawn(async move {
            let mut talks = tokio::task::JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let number = seen.fetch_add(1, Ordering::SeqCst);
                talks.spawn(talk(Conversation { stream, number }));
                while talks.try_join_next().is_some() {}
            }
        });
        RawReceiver { port, connections, server }
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}/", self.port)
    }

    /// How many connections there have been.
    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }
}

impl Drop for RawReceiver {
    fn drop(&mut self) {
        self.server.abort();
    }
}

/// One connection.
pub struct Conversation {
    pub stream: TcpStream,
    /// 0 for the first connection.
    pub number: usize,
}

impl Conversation {
    /// Reads one request, body and all, and returns it; an error at the end of the stream.
    pub async fn request(&mut self) -> io::Result<String> {
        let mut read = Vec::new();
        loop {
            let text = String::from_utf8_lossy(&read).into_owned();
            if let Some((head, body)) = text.split_once("\r\n\r\n") {
                let length = head.to_lowercase().lines().find_map(|line| {
                    line.strip_prefix("content-length:").and_then(|value| value.trim().parse::<usize>().ok())
                });
                if body.len() >= length.unwrap_or(0) {
                    return Ok(text);
                }
            }
            if self.stream.read_buf(&mut read).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
    }

    pub async fn say(&mut self, bytes: impl AsRef<[u8]>) -> io::Result<()> {
        self.stream.write_all(bytes.as_ref()).await?;
        self.stream.flush().await
    }

    /// Says it again and again until the other side has enough.
    pub async fn say_forever(&mut self, bytes: impl AsRef<[u8]>) -> io::Result<()> {
        loop {
            self.say(bytes.as_ref()).await?;
        }
    }

    /// Says nothing more, and waits until the other side hangs up.
    pub async fn wait(&mut self) -> io::Result<()> {
        while self.stream.read(&mut [0; 4096]).await? > 0 {}
        Ok(())
    }

    /// Ends the connection with a reset instead of an orderly close.
    pub fn reset(self) -> io::Result<()> {
        self.stream.set_zero_linger()
    }
}
