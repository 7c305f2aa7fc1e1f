//! A curve as an SVG picture: how a cost grows with something, on a logarithmic scale from left to right.

use crate::row::short;
use std::fmt::Write;

pub struct Curve {
    /// file name without its extension
    pub name: &'static str,
    pub title: &'static str,
    pub x_label: &'static str,
    pub y_label: &'static str,
    pub points: Vec<(f64, f64)>,
    /// time goes from left to right as it passes
    pub linear: bool,
}

const WIDTH: f64 = 640.0;
const HEIGHT: f64 = 320.0;
/// Left, right, top, bottom.
const MARGIN: [f64; 4] = [80.0, 20.0, 40.0, 50.0];

impl Curve {
    pub fn svg(&self) -> String {
        let along = |x: f64| if self.linear { x } else { x.max(1e-9).log10() };
        let (first, last) = self
            .points
            .iter()
            .fold((f64::MAX, f64::MIN), |(low, high), (x, _)| (low.min(along(*x)), high.max(along(*x))));
        // From zero up: a flat curve looks flat.
        let top = self.points.iter().fold(f64::MIN_POSITIVE, |top, (_, y)| top.max(*y)) * 1.1;
        let x = |value: f64| {
            MARGIN[0] + (along(value) - first) / (last - first).max(1e-9) * (WIDTH - MARGIN[0] - MARGIN[1])
        };
        let y = |value: f64| HEIGHT - MARGIN[3] - value / top * (HEIGHT - MARGIN[2] - MARGIN[3]);
        let mut svg = format!(
            "<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 {WIDTH} {HEIGHT}' font-family='sans-serif' font-size='12'>\n<rect width='100%' height='100%' fill='white'/>\n"
        );
        let mut text = |x: f64, y: f64, anchor: &str, size: u32, text: &str| {
            let _ = writeln!(
                svg,
                "<text x='{x:.0}' y='{y:.0}' text-anchor='{anchor}' font-size='{size}'>{text}</text>"
            );
        };
        text(WIDTH / 2.0, 20.0, "middle", 14, self.title);
        text(WIDTH / 2.0, HEIGHT - 10.0, "middle", 12, self.x_label);
        text(MARGIN[0], MARGIN[2] - 8.0, "end", 12, self.y_label);
        for part in 0..=4 {
            let value = top * f64::from(part) / 4.0;
            text(MARGIN[0] - 6.0, y(value) + 4.0, "end", 11, &short(value));
        }
        let marked = self.points.len().div_ceil(8);
        for (value, _) in self.points.iter().step_by(marked) {
            text(x(*value), HEIGHT - MARGIN[3] + 16.0, "middle", 11, &count(*value));
        }
        for part in 0..=4 {
            let at = y(top * f64::from(part) / 4.0);
            let _ = writeln!(
                svg,
                "<line x1='{}' x2='{}' y1='{at:.1}' y2='{at:.1}' stroke='#ddd'/>",
                MARGIN[0],
                WIDTH - MARGIN[1]
            );
        }
        let line: Vec<String> =
            self.points.iter().map(|(px, py)| format!("{:.1},{:.1}", x(*px), y(*py))).collect();
        let _ = writeln!(
            svg,
            "<polyline points='{}' fill='none' stroke='#1f5fa8' stroke-width='2'/>",
            line.join(" ")
        );
        if marked == 1 {
            for (px, py) in &self.points {
                let _ = writeln!(svg, "<circle cx='{:.1}' cy='{:.1}' r='3' fill='#1f5fa8'/>", x(*px), y(*py));
            }
        }
        svg + "</svg>\n"
    }
}

/// 50k, 2M.
fn count(value: f64) -> String {
    match value {
        v if v >= 1e6 => format!("{}M", v / 1e6),
        v if v >= 1e3 => format!("{}k", (v / 100.0).round() / 10.0),
        v => format!("{}", v.round()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_curve_stays_within_the_picture() {
        let points = vec![(50_000.0, 1.0), (2_000_000.0, 3.0)];
        let svg = Curve { name: "n", title: "t", x_label: "x", y_label: "y", points, linear: false }.svg();
        assert!(svg.contains("points='80.0,") && svg.contains("620.0,"), "{svg}");
        assert!(svg.contains(">50k<") && svg.contains(">2M<"), "{svg}");
    }
}
