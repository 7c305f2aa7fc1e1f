//! `pg-webhook-bench receiver`: the server that every contestant posts to. It reads each request to its end, notes when it
//! came and whose id it carried, and answers as the path says.
//!
//! POST /{lane}/{delay in ms}/{fail percent}: 200 after the delay, or 500. A lane keeps its own count.
//! GET /{lane}: `received first_us`. GET /{lane}/arrivals: `id us`, a line each.
//! GET /{lane}/distinct: how many ids. DELETE /: forgets everything.

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::{Method, Request, Response};
use hyper_util::rt::TokioIo;
use std::cell::RefCell;
use std::collections::{HashMap, HashSet};
use std::convert::Infallible;
use std::fmt::Write;
use std::net::Ipv4Addr;
use std::rc::Rc;
use std::time::Duration;
use tokio::net::TcpListener;

/// Arrivals of each lane: the id and when, in microseconds since 1970.
type Lanes = Rc<RefCell<HashMap<u32, Vec<(Box<[u8]>, i64)>>>>;

/// Serves until it is ended. Prints its port first.
pub fn serve() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    tokio::task::LocalSet::new().block_on(&runtime, async {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a free port");
        println!("{}", listener.local_addr().expect("an address").port());
        let lanes = Lanes::default();
        loop {
            let Ok((stream, _)) = listener.accept().await else { continue };
            let _ = stream.set_nodelay(true);
            let lanes = lanes.clone();
            tokio::task::spawn_local(async move {
                let service = hyper::service::service_fn(move |request| answer(request, lanes.clone()));
                let _ = hyper::server::conn::http1::Builder::new()
                    .serve_connection(TokioIo::new(stream), service)
                    .await;
            });
        }
    });
}

async fn answer(request: Request<Incoming>, lanes: Lanes) -> Result<Response<Full<Bytes>>, Infallible> {
    let (head, body) = request.into_parts();
    let path: Vec<u32> = head.uri.path().split('/').skip(1).filter_map(|part| part.parse().ok()).collect();
    let [lane, delay_ms, fail_percent] = [0, 1, 2].map(|place| path.get(place).copied().unwrap_or(0));
    match head.method {
        Method::POST => {
            let _ = body.collect().await;
            let at = crate::series::now_us();
            let id = head.headers.get("webhook-id").map_or(&b""[..], |id| id.as_bytes()).into();
            let count = {
                let mut lanes = lanes.borrow_mut();
                let lane = lanes.entry(lane).or_default();
                lane.push((id, at));
                lane.len()
            };
            if delay_ms > 0 {
                tokio::time::sleep(Duration::from_millis(delay_ms.into())).await;
            }
            // Spread evenly over arrivals, which come in no order that matters: as good as random, and repeatable.
            let failing = (count as u64 * 61) % 100 < u64::from(fail_percent);
            let mut response = Response::new(Full::default());
            if failing {
                *response.status_mut() = hyper::StatusCode::INTERNAL_SERVER_ERROR;
            }
            Ok(response)
        }
        Method::DELETE => {
            lanes.borrow_mut().clear();
            Ok(Response::default())
        }
        _ => Ok(Response::new(Full::from(told(
            &lanes,
            lane,
            head.uri.path().rsplit('/').next().unwrap_or(""),
        )))),
    }
}

fn told(lanes: &Lanes, lane: u32, what: &str) -> String {
    let lanes = lanes.borrow();
    let lane = lanes.get(&lane).map_or(&[][..], Vec::as_slice);
    if what == "distinct" {
        return lane.iter().map(|(id, _)| id).collect::<HashSet<_>>().len().to_string();
    }
    if what == "arrivals" {
        return lane.iter().fold(String::new(), |mut text, (id, at)| {
            let _ = writeln!(text, "{} {at}", String::from_utf8_lossy(id));
            text
        });
    }
    format!("{} {}", lane.len(), lane.first().map_or(0, |(_, at)| *at))
}
