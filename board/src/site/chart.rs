//! Intervals as a picture.

use std::fmt::Write as _;

use minijinja::{HtmlEscape, Value};

const WIDTH: f64 = 640.0;
const LABELS: f64 = 190.0;
const LINE: f64 = 30.0;

/// A difference to draw, in shares.
pub(super) struct Bar {
    pub label: String,
    pub value: f64,
    pub interval: [f64; 2],
}

/// Each difference as a dot on its interval, about a line at zero.
pub(super) fn intervals(bars: &[Bar], about: &str) -> Value {
    let ends = bars.iter().flat_map(|bar| bar.interval).filter(|end| end.is_finite());
    let most = ends.fold(0.01f64, |most, end| most.max(end.abs()));
    let x = |share: f64| LABELS + 20.0 + (share.clamp(-most, most) / most + 1.0) / 2.0 * (WIDTH - LABELS - 40.0);
    let height = LINE * (bars.len() as f64 + 1.0) + 4.0;
    let mut svg = format!(
        "<svg class=\"chart\" viewBox=\"0 0 {WIDTH} {height}\" role=\"img\" aria-label=\"{}\">",
        HtmlEscape(about)
    );
    let bottom = LINE * bars.len() as f64 + 6.0;
    let zero = x(0.0);
    write!(svg, "<line class=\"zero\" x1=\"{zero:.1}\" x2=\"{zero:.1}\" y1=\"2\" y2=\"{bottom:.1}\"/>").expect("text");
    for (row, bar) in bars.iter().enumerate() {
        let y = LINE * row as f64 + LINE / 2.0 + 2.0;
        let label: String = bar.label.chars().take(28).collect();
        let [low, high] = bar.interval.map(|end| x(if end.is_finite() { end } else { bar.value }));
        write!(
            svg,
            "<text x=\"{LABELS}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>\
             <line class=\"bar\" x1=\"{low:.1}\" x2=\"{high:.1}\" y1=\"{y:.1}\" y2=\"{y:.1}\"/>\
             <circle class=\"dot\" cx=\"{:.1}\" cy=\"{y:.1}\" r=\"5\"/>",
            y + 4.5,
            HtmlEscape(&label),
            x(bar.value)
        )
        .expect("text");
    }
    for end in [-most, 0.0, most] {
        let label = super::text::points(end);
        write!(
            svg,
            "<text class=\"axis\" x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{label}</text>",
            x(end),
            bottom + 16.0
        )
        .expect("text");
    }
    svg.push_str("</svg>");
    Value::from_safe_string(svg)
}
