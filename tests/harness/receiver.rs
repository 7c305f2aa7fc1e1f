//! A receiver of webhooks: a real HTTP server that remembers every request and answers as it is told.

use crate::wait::{until, until_nothing_is_left};
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use std::collections::HashMap;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;

/// A request as it arrived.
#[derive(Clone, Debug)]
pub struct Request {
    pub version: http::Version,
    pub path: String,
    /// names in lower case
    pub headers: HashMap<String, String>,
    pub body: String,
    pub from: SocketAddr,
    pub at: Instant,
}

impl Request {
    /// A header's value; empty if it is not there.
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", String::as_str)
    }

    /// The webhook-id.
    pub fn id(&self) -> &str {
        self.header("webhook-id")
    }

    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.body).expect("the body is JSON")
    }

    /// Verifies with the official library.
    pub fn verify(&self, secret: &str) -> Result<(), String> {
        let webhook = standardwebhooks::Webhook::new(secret).map_err(|error| error.to_string())?;
        let mut headers = http::HeaderMap::new();
        for (name, value) in &self.headers {
            if let (Ok(name), Ok(value)) =
                (http::HeaderName::try_from(name), http::HeaderValue::try_from(value))
            {
                headers.insert(name, value);
            }
        }
        webhook.verify(self.body.as_bytes(), &headers).map_err(|error| error.to_string())
    }
}

/// What to answer a request with.
#[derive(Clone, Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Bytes,
    pub delay: Duration,
    gate: Option<Gate>,
}

/// Holds answers back until it is opened.
#[derive(Clone, Debug, Default)]
pub struct Gate(watch::Sender<bool>);

impl Gate {
    pub fn open(&self) {
        self.0.send_replace(true);
    }

    async fn passed(&self) {
        let _ = self.0.subscribe().wait_for(|open| *open).await;
    }
}

impl Answer {
    pub fn status(status: u16) -> Answer {
        Answer { status, headers: Vec::new(), body: Bytes::new(), delay: Duration::ZERO, gate: None }
    }

    pub fn header(mut self, name: &str, value: &str) -> Answer {
        self.headers.push((name.into(), value.into()));
        self
    }

    pub fn body(mut self, body: impl Into<Bytes>) -> Answer {
        self.body = body.into();
        self
    }

    pub fn after(mut self, delay: Duration) -> Answer {
        self.delay = delay;
        self
    }

    pub fn held_by(mut self, gate: &Gate) -> Answer {
        self.gate = Some(gate.clone());
        self
    }
}

type Script = dyn Fn(&Request) -> Answer + Send + Sync;

pub struct Receiver {
    port: u16,
    requests: Arc<Mutex<Vec<Request>>>,
    script: Arc<Mutex<Arc<Script>>>,
    server: tokio::task::JoinHandle<()>,
}

impl Receiver {
    /// Listens on a port of its own and answers 200.
    pub async fn start() -> Receiver {
        Self::start_on(0).await
    }

    /// Listens on this port, as soon as it is free, for a receiver that comes back.
    pub async fn start_on(port: u16) -> Receiver {
        Self::start_at(port, None).await
    }

    /// The same with TLS, and HTTP/2 if that offers it.
    pub async fn start_tls(tls: TlsAcceptor) -> Receiver {
        Self::start_at(0, Some(tls)).await
    }

    async fn start_at(port: u16, tls: Option<TlsAcceptor>) -> Receiver {
        let bound = async || TcpListener::bind(("127.0.0.1", port)).await.ok();
        let listener = until("the port is free", bound).await;
        let port = listener.local_addr().expect("an address").port();
        let requests = Arc::new(Mutex::new(Vec::new()));
        let script: Arc<Mutex<Arc<Script>>> =
            Arc::new(Mutex::new(Arc::new(|_: &Request| Answer::status(200))));
        let server = tokio::spawn(serve(listener, tls, requests.clone(), script.clone()));
        Receiver { port, requests, script, server }
    }

    /// From now on answers as the script says.
    pub fn answers(&self, script: impl Fn(&Request) -> Answer + Send + Sync + 'static) {
        *self.script.lock().expect("no panic while locked") = Arc::new(script);
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port)
    }

    pub fn requests(&self) -> Vec<Request> {
        self.requests.lock().expect("no panic while locked").clone()
    }

    pub fn count(&self) -> usize {
        self.requests.lock().expect("no panic while locked").len()
    }

    /// Waits until at least this many requests have come, and returns all.
    pub async fn receives(&self, count: usize) -> Vec<Request> {
        let left = async || count.saturating_sub(self.count()) as i64;
        until_nothing_is_left(&format!("{count} requests have arrived"), left).await;
        self.requests()
    }

    /// How often each webhook-id came.
    pub fn times_by_id(&self) -> HashMap<String, usize> {
        let mut times = HashMap::new();
        for request in self.requests.lock().expect("no panic while locked").iter() {
            *times.entry(request.id().to_owned()).or_insert(0) += 1;
        }
        times
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.server.abort();
    }
}

async fn serve(
    listener: TcpListener,
    tls: Option<TlsAcceptor>,
    requests: Arc<Mutex<Vec<Request>>>,
    script: Arc<Mutex<Arc<Script>>>,
) {
    // Connections end with the server: a receiver that is dropped is down.
    let mut connections = tokio::task::JoinSet::new();
    while let Ok((stream, from)) = listener.accept().await {
        let (tls, requests, script) = (tls.clone(), requests.clone(), script.clone());
        connections.spawn(async move {
            match tls {
                None => talk(stream, from, requests, script).await,
                Some(tls) => {
                    if let Ok(stream) = tls.accept(stream).await {
                        talk(stream, from, requests, script).await;
                    }
                }
            }
        });
        while connections.try_join_next().is_some() {}
    }
}

async fn talk(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    from: SocketAddr,
    requests: Arc<Mutex<Vec<Request>>>,
    script: Arc<Mutex<Arc<Script>>>,
) {
    let service = service_fn(move |request| answer(request, from, requests.clone(), script.clone()));
    let _ = auto::Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(stream), service).await;
}

async fn answer(
    request: hyper::Request<Incoming>,
    from: SocketAddr,
    requests: Arc<Mutex<Vec<Request>>>,
    script: Arc<Mutex<Arc<Script>>>,
) -> Result<hyper::Response<Full<Bytes>>, Infallible> {
    let (parts, body) = request.into_parts();
    let body = body.collect().await.map(|collected| collected.to_bytes()).unwrap_or_default();
    let seen = Request {
        version: parts.version,
        path: parts.uri.to_string(),
        headers: parts
            .headers
            .iter()
            .map(|(name, value)| (name.to_string(), String::from_utf8_lossy(value.as_bytes()).into_owned()))
            .collect(),
        body: String::from_utf8_lossy(&body).into_owned(),
        from,
        at: Instant::now(),
    };
    let script = script.lock().expect("no panic while locked").clone();
    let answer = script(&seen);
    requests.lock().expect("no panic while locked").push(seen);
    tokio::time::sleep(answer.delay).await;
    if let Some(gate) = &answer.gate {
        gate.passed().await;
    }
    let mut response = hyper::Response::builder().status(answer.status);
    for (name, value) in &answer.headers {
        response = response.header(name, value);
    }
    Ok(response.body(Full::new(answer.body)).expect("a valid answer"))
}

/// GET from a server on loopback; None if nothing answers.
pub(crate) async fn get(port: u16, path: &str) -> Option<(u16, String)> {
    let stream = TcpStream::connect(("127.0.0.1", port)).await.ok()?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.ok()?;
    tokio::spawn(connection);
    let request =
        hyper::Request::get(path).header("host", "127.0.0.1").body(Full::<Bytes>::default()).ok()?;
    let response = sender.send_request(request).await.ok()?;
    let status = response.status().as_u16();
    let body = response.into_body().collect().await.ok()?.to_bytes();
    Some((status, String::from_utf8_lossy(&body).into_owned()))
}
