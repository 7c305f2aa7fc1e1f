//! One line of the table: a measure, its reference in the same run, and the ratio of the two, round by round.

use crate::series::Summary;
use serde_json::{Value, json};

pub struct Row {
    /// name of the bench
    pub bench: &'static str,
    pub measure: &'static str,
    pub reference: &'static str,
    pub unit: &'static str,
    /// one value a round
    pub ours: Vec<f64>,
    /// of the reference, in the same rounds; empty where the measure stands for itself
    pub theirs: Vec<f64>,
    pub reach: Reach,
}

/// What the design asks for: of the ratio, or of the measure where there is no reference.
#[derive(Clone, Copy)]
pub enum Reach {
    AtLeast(f64),
    AtMost(f64),
    /// measured for orientation
    None,
}

impl Reach {
    fn met(self, value: f64) -> Option<bool> {
        match self {
            Reach::AtLeast(bound) => Some(value >= bound),
            Reach::AtMost(bound) => Some(value <= bound),
            Reach::None => None,
        }
    }

    fn text(self) -> String {
        match self {
            Reach::AtLeast(bound) => format!("≥ {bound}"),
            Reach::AtMost(bound) => format!("≤ {bound}"),
            Reach::None => String::new(),
        }
    }
}

impl Row {
    fn judged(&self) -> Summary {
        if self.theirs.is_empty() {
            return Summary::of(&self.ours);
        }
        assert_eq!(self.ours.len(), self.theirs.len(), "{}: a value a round for both", self.measure);
        Summary::of(
            &self.ours.iter().zip(&self.theirs).map(|(ours, theirs)| ours / theirs).collect::<Vec<_>>(),
        )
    }

    pub fn json(&self) -> Value {
        let judged = self.judged();
        json!({
            "bench": self.bench, "measure": self.measure, "reference": self.reference, "unit": self.unit,
            "ours": self.ours, "theirs": self.theirs, "reach": self.reach.text(), "met": self.reach.met(judged.median),
            "ratio": { "median": judged.median, "min": judged.min, "max": judged.max },
        })
    }
}

/// The rows as a table in Markdown.
pub fn table(rows: &[Row]) -> String {
    let mut text = String::from(
        "| measure | reference | ours | theirs | ratio (min – max) | reach | |\n|---|---|---|---|---|---|---|\n",
    );
    for row in rows {
        let judged = row.judged();
        let met = row.reach.met(judged.median).map_or("", |met| if met { "met" } else { "missed" });
        let side = |samples: &[f64]| {
            if samples.is_empty() {
                String::new()
            } else {
                format!("{} {}", short(Summary::of(samples).median), row.unit)
            }
        };
        let ratio = if row.theirs.is_empty() {
            "".into()
        } else {
            format!("**{:.2}** ({:.2} – {:.2})", judged.median, judged.min, judged.max)
        };
        let (ours, theirs) = (side(&row.ours), side(&row.theirs));
        text += &format!(
            "| {} | {} | {ours} | {theirs} | {ratio} | {} | {met} |\n",
            row.measure,
            row.reference,
            row.reach.text()
        );
    }
    text
}

/// Three digits that matter.
pub fn short(value: f64) -> String {
    match value.abs() {
        size if size >= 10_000.0 => format!("{}", (value / 100.0).round() * 100.0),
        size if size >= 100.0 => format!("{value:.0}"),
        size if size >= 10.0 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}
