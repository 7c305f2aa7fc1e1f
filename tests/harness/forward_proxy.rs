//! A forward proxy: opens tunnels (CONNECT), and passes on requests that name a whole URL.

use std::io;
use std::sync::{Arc, Mutex};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};
use tokio_rustls::TlsAcceptor;

#[derive(Clone, Default)]
pub struct ForwardProxyOptions {
    /// It is spoken to over TLS.
    pub tls: Option<TlsAcceptor>,
    /// user:password in base64, without which it does nothing
    pub credentials: Option<&'static str>,
    /// Whatever host is asked for, it goes to this port of 127.0.0.1.
    pub to_port: Option<u16>,
}

pub struct ForwardProxy {
    port: u16,
    asked: Arc<Mutex<Vec<String>>>,
    server: JoinHandle<()>,
}

impl ForwardProxy {
    pub async fn start(options: ForwardProxyOptions) -> ForwardProxy {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a free port");
        let port = listener.local_addr().expect("an address").port();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let seen = asked.clone();
        let server = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let (options, seen) = (options.clone(), seen.clone());
                connections.spawn(async move {
                    match options.tls.clone() {
                        Some(tls) => pass(tls.accept(stream).await?, &options, &seen).await,
                        None => pass(stream, &options, &seen).await,
                    }
                });
            }
        });
        ForwardProxy { port, asked, server }
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    /// `CONNECT host:port` and `POST http://…` of all that were let through, each once, in order of the alphabet.
    pub fn asked(&self) -> Vec<String> {
        let mut asked = self.asked.lock().expect("no panic while locked").clone();
        asked.sort();
        asked.dedup();
        asked
    }
}

impl Drop for ForwardProxy {
    fn drop(&mut self) {
        self.server.abort();
    }
}

async fn pass(
    mut client: impl AsyncRead + AsyncWrite + Unpin,
    options: &ForwardProxyOptions,
    asked: &Mutex<Vec<String>>,
) -> io::Result<()> {
    let mut read = Vec::new();
    let end = loop {
        if client.read_buf(&mut read).await? == 0 {
            return Ok(());
        }
        if let Some(end) = read.windows(4).position(|bytes| bytes == b"\r\n\r\n") {
            break end;
        }
    };
    let head = String::from_utf8_lossy(&read[..end]).into_owned();
    let (line, headers) = head.split_once("\r\n").unwrap_or((&head, ""));
    let (own, others): (Vec<&str>, Vec<&str>) =
        headers.lines().partition(|line| line.to_lowercase().starts_with("proxy-"));
    let given = own.iter().find_map(|line| line.split_once(": Basic ").map(|(_, given)| given));
    if options.credentials.is_some_and(|wanted| given != Some(wanted)) {
        client.write_all(b"HTTP/1.1 407 Proxy Authentication Required\r\ncontent-length: 0\r\nconnection: close\r\n\r\n").await?;
        client.shutdown().await?;
        return tokio::io::copy(&mut client, &mut tokio::io::sink()).await.map(|_| ());
    }
    let target = line.split(' ').nth(1).unwrap_or_default();
    asked.lock().expect("no panic while locked").push(line.trim_end_matches(" HTTP/1.1").to_owned());
    let (authority, path) = match target.strip_prefix("http://") {
        Some(rest) => rest.split_once('/').unwrap_or((rest, "")),
        None => (target, ""),
    };
    let port = authority.rsplit(':').next().and_then(|port| port.parse().ok());
    let port = options.to_port.or(port).unwrap_or(80);
    let mut server = TcpStream::connect(("127.0.0.1", port)).await?;
    if line.starts_with("CONNECT ") {
        client.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await?;
    } else {
        let others = others.join("\r\n");
        let head = format!("POST /{path} HTTP/1.1\r\n{others}\r\nconnection: close\r\n");
        server.write_all(&[head.as_bytes(), &read[end + 2..]].concat()).await?;
    }
    copy_bidirectional(&mut client, &mut server).await.map(|_| ())
}
