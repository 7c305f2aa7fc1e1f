//! Memory for what lives as long as a batch of events. PostgreSQL's functions leave allocations behind for their
//! memory context to free; over 100,000 rows of one statement they would add up.

use pgrx::pg_sys;

pub struct Scratch(pg_sys::MemoryContext);

impl Scratch {
    pub fn new() -> Self {
        // A child of the current context: on an error it goes with its parent.
        Self(unsafe {
            pg_sys::AllocSetContextCreateInternal(
                pg_sys::CurrentMemoryContext,
                c"pg_webhook batch".as_ptr(),
                0,
                8 * 1024,
                8 * 1024 * 1024,
            )
        })
    }

    /// Allocations come from here until [`Scratch::leave`]. On an error the abort of the transaction switches back.
    #[must_use]
    pub fn enter(&self) -> pg_sys::MemoryContext {
        unsafe { pg_sys::MemoryContextSwitchTo(self.0) }
    }

    /// Back to what [`Scratch::enter`] returned.
    pub fn leave(before: pg_sys::MemoryContext) {
        unsafe { pg_sys::MemoryContextSwitchTo(before) };
    }

    /// Frees what was allocated.
    pub fn clear(&self) {
        unsafe { pg_sys::MemoryContextReset(self.0) };
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            unsafe { pg_sys::MemoryContextDelete(self.0) };
        }
    }
}
