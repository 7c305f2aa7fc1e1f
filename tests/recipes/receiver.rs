use standardwebhooks::Webhook;
use std::collections::HashSet;
use tiny_http::{Response, Server};

fn main() -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let webhook = Webhook::new(&std::env::var("WEBHOOK_SECRET")?)?;
    let mut done = HashSet::new(); // in production: a table with a unique key
    let server = Server::http(format!("127.0.0.1:{}", std::env::var("PORT")?))?;
    println!("listening");
    for mut request in server.incoming_requests() {
        let mut body = Vec::new();
        request.as_reader().read_to_end(&mut body)?;
        let mut headers = http::HeaderMap::new();
        for header in request.headers() {
            headers.insert(
                http::HeaderName::from_bytes(header.field.as_str().as_ref())?,
                header.value.as_str().parse()?,
            );
        }
        if webhook.verify(&body, &headers).is_err() {
            request.respond(Response::empty(401))?;
            continue;
        }
        let event: serde_json::Value = serde_json::from_slice(&body)?;
        let id = headers["webhook-id"].to_str()?.to_owned();
        if done.insert(id.clone()) {
            println!("{} {id}", event["type"].as_str().unwrap_or_default());
        }
        request.respond(Response::empty(204))?;
    }
    Ok(())
}
