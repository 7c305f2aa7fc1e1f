//! A layer around the client's connector: notes when a request begins to connect and when it is through.

use super::phase::{Phase, enter};
use std::pin::Pin;
use std::task::{Context, Poll};
use tower_layer::Layer;
use tower_service::Service;

#[derive(Clone, Copy)]
pub struct Phases;

#[derive(Clone)]
pub struct Phased<S>(S);

impl<S> Layer<S> for Phases {
    type Service = Phased<S>;

    fn layer(&self, inner: S) -> Phased<S> {
        Phased(inner)
    }
}

impl<S, R> Service<R> for Phased<S>
where
    S: Service<R>,
    S::Future: Send + 'static,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<S::Response, S::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.0.poll_ready(context)
    }

    fn call(&mut self, request: R) -> Self::Future {
        enter(Phase::Connecting);
        let connecting = self.0.call(request);
        Box::pin(async move {
            let result = connecting.await;
            enter(Phase::Answer);
            result
        })
    }
}
