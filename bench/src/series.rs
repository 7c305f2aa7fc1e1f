//! Samples of one quantity, one a round, and what is said of them.

/// Microseconds since 1970: arrivals and commits are compared across processes of one machine.
pub fn now_us() -> i64 {
    let since =
        std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("a clock after 1970");
    i64::try_from(since.as_micros()).expect("a clock before the year 290000")
}

/// The value below which this share of the samples lies; `share` 0.5 is the median.
pub fn quantile(samples: &[f64], share: f64) -> f64 {
    let mut sorted = samples.to_vec();
    sorted.sort_by(f64::total_cmp);
    assert!(!sorted.is_empty(), "no samples");
    let place = share * (sorted.len() - 1) as f64;
    let (low, high) = (place.floor() as usize, place.ceil() as usize);
    sorted[low] + (sorted[high] - sorted[low]) * (place - low as f64)
}

/// Median, least and greatest of a few rounds.
#[derive(Clone, Copy, Debug)]
pub struct Summary {
    pub median: f64,
    pub min: f64,
    pub max: f64,
}

impl Summary {
    pub fn of(samples: &[f64]) -> Summary {
        Summary { median: quantile(samples, 0.5), min: quantile(samples, 0.0), max: quantile(samples, 1.0) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_lie_between_neighbours() {
        let samples = [4.0, 1.0, 3.0, 2.0];
        assert_eq!(quantile(&samples, 0.0), 1.0);
        assert_eq!(quantile(&samples, 0.5), 2.5);
        assert_eq!(quantile(&samples, 1.0), 4.0);
        assert_eq!(quantile(&[7.0], 0.99), 7.0);
    }
}
