//! How many rows of its backlog an endpoint reads at a time: few until it shows that it gets through them.

/// What stands still takes little memory, however many there are of it.
const FIRST_ROWS: usize = 32;
/// Beyond it a read saves nothing.
const MOST_ROWS: usize = 1_000;
/// A page is read for bodies of this size; larger ones come with the bytes the budget grants.
const USUAL_ROW_BYTES: usize = 8 << 10;

pub struct PageSize {
    rows: usize,
}

impl PageSize {
    pub fn new() -> PageSize {
        PageSize { rows: FIRST_ROWS }
    }

    pub fn rows(&self) -> usize {
        self.rows
    }

    pub fn bytes(&self, granted: usize) -> usize {
        granted.min(self.rows * USUAL_ROW_BYTES)
    }

    /// Whether so few rows are left that more should be read.
    pub fn is_low(&self, waiting: usize) -> bool {
        waiting <= self.rows / 2
    }

    /// The same of a backlog that is read page by page. A page takes PostgreSQL as long as a fast receiver half of it:
    /// whoever has shown to be fast has the next one read when one has come.
    pub fn wants_next(&self, waiting: usize) -> bool {
        if self.rows > FIRST_ROWS { waiting <= self.rows } else { self.is_low(waiting) }
    }

    /// A page has come, when nothing was left to send (`dry`), and there is more.
    pub fn came(&mut self, dry: bool, more: bool) {
        if dry && more {
            self.rows = (self.rows * 2).min(MOST_ROWS);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grows_while_it_is_too_small() {
        let mut size = PageSize::new();
        size.came(false, true);
        size.came(true, false);
        assert_eq!(size.rows(), FIRST_ROWS);
        assert!(size.wants_next(FIRST_ROWS / 2) && !size.wants_next(FIRST_ROWS / 2 + 1));
        for _ in 0..10 {
            size.came(true, true);
        }
        assert_eq!((size.rows(), size.bytes(100)), (MOST_ROWS, 100));
        assert!(size.is_low(500) && !size.is_low(501));
        assert!(size.wants_next(MOST_ROWS) && !size.wants_next(MOST_ROWS + 1));
    }
}
