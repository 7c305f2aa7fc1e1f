//! A way to the cluster that can fall silent: what is asked still gets there, but no answer comes back.

use crate::cluster::Cluster;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

pub struct Proxy {
    port: u16,
    opened: Arc<AtomicUsize>,
    /// connections with a lower number are silent
    silent: Arc<AtomicUsize>,
    server: JoinHandle<()>,
}

impl Proxy {
    pub async fn start(cluster: &Cluster) -> Proxy {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a free port");
        let port = listener.local_addr().expect("an address").port();
        let (opened, silent) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let server = tokio::spawn(serve(listener, cluster.port(), opened.clone(), silent.clone()));
        Proxy { port, opened, silent, server }
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    /// From now on nothing comes back on the connections there are; new ones are as they should be.
    pub fn silence(&self) {
        self.silent.store(self.opened.load(Ordering::SeqCst), Ordering::SeqCst);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.server.abort();
    }
}

async fn serve(listener: TcpListener, to_port: u16, opened: Arc<AtomicUsize>, silent: Arc<AtomicUsize>) {
    while let Ok((client, _)) = listener.accept().await {
        let number = opened.fetch_add(1, Ordering::SeqCst);
        let Ok(server) = TcpStream::connect(("127.0.0.1", to_port)).await else { continue };
        let ((mut asked, answered), (answers, mut asks)) = (client.into_split(), server.into_split());
        tokio::spawn(async move {
            let _ = copy(&mut asked, &mut asks).await;
        });
        tokio::spawn(answer(answers, answered, number, silent.clone()));
    }
}

async fn answer(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, number: usize, silent: Arc<AtomicUsize>) {
    let mut buffer = vec![0; 64 << 10];
    while let Ok(length @ 1..) = from.read(&mut buffer).await {
        if number >= silent.load(Ordering::SeqCst) && to.write_all(&buffer[..length]).await.is_err() {
            return;
        }
    }
    if number < silent.load(Ordering::SeqCst) {
        // Nor does it say that it has ended.
        std::future::pending::<()>().await;
    }
}
