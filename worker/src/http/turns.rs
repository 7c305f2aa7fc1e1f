//! No connection keeps its thread from the others: after two reads or writes it waits for its next turn.
//!
//! hyper parses for as long as there is something to read, up to 128 times 400 KiB: that is what tokio lets one task do
//! at a time. A receiver that answers with informational responses (1xx) without end would stop all others of the
//! thread for seconds. So each read and write is made to cost more.

use std::pin::pin;
use std::task::{Context, Waker};
use tokio::task::coop::consume_budget;

/// Of the 128 units that tokio gives a task for a turn. A request with a short answer needs no turn more than without:
/// one write in the first, one read in the second.
const COST: usize = 64;

/// After a read or write, within it.
pub fn use_up() {
    let mut context = Context::from_waker(Waker::noop());
    for _ in 0..COST {
        if pin!(consume_budget()).poll(&mut context).is_pending() {
            break;
        }
    }
}
