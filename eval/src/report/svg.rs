use std::fmt::Write;

/// An SVG drawing built as text. Colours come from the page's style sheet through class names.
pub(super) struct Drawing {
    width: f64,
    height: f64,
    body: String,
}

/// Where a text is held.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Anchor {
    Start,
    Middle,
    End,
}

/// Maps data onto a span of pixels.
#[derive(Clone, Copy)]
pub(super) struct Axis {
    pub(super) low: f64,
    pub(super) high: f64,
    from: f64,
    to: f64,
}

impl Axis {
    /// An axis from `low` to `high`, drawn from pixel `from` to pixel `to`.
    pub(super) fn new(low: f64, high: f64, from: f64, to: f64) -> Self {
        let high = if high > low { high } else { low + low.abs().max(1.0) * 0.1 };
        Self { low, high, from, to }
    }

    pub(super) fn at(&self, value: f64) -> f64 {
        self.from + (value - self.low) / (self.high - self.low) * (self.to - self.from)
    }

    /// About `wanted` round values inside the axis, and the decimals they need.
    pub(super) fn ticks(&self, wanted: usize) -> (Vec<f64>, usize) {
        let raw = (self.high - self.low) / wanted.max(1) as f64;
        let power = 10f64.powf(raw.log10().floor());
        let step = [1.0, 2.0, 2.5, 5.0, 10.0].map(|m| m * power).into_iter().find(|s| *s >= raw * 0.999);
        let step = step.unwrap_or(power * 10.0);
        let first = (self.low / step - 1e-9).ceil() as i64;
        let last = (self.high / step + 1e-9).floor() as i64;
        let decimals = (0..9).find(|d| {
            let scaled = step * 10f64.powi(*d);
            (scaled - scaled.round()).abs() < 1e-6 * scaled
        });
        ((first..=last).map(|i| i as f64 * step).collect(), decimals.unwrap_or(0) as usize)
    }
}

impl Drawing {
    pub(super) fn new(width: f64, height: f64) -> Self {
        Self { width, height, body: String::new() }
    }

    pub(super) fn line(&mut self, class: &str, [x1, y1]: [f64; 2], [x2, y2]: [f64; 2]) {
        self.push(&format!(r#"<line class="{class}" x1="{x1:.1}" y1="{y1:.1}" x2="{x2:.1}" y2="{y2:.1}"/>"#));
    }

    pub(super) fn path(&mut self, class: &str, points: &[[f64; 2]]) {
        let mut d = String::new();
        for (index, [x, y]) in points.iter().enumerate() {
            let _ = write!(d, "{}{x:.1} {y:.1}", if index == 0 { "M" } else { "L" });
        }
        self.push(&format!(r#"<path class="{class}" d="{d}"/>"#));
    }

    /// A circle that shows `title` when pointed at.
    pub(super) fn dot(&mut self, class: &str, [x, y]: [f64; 2], radius: f64, title: &str) {
        let title = escape(title);
        self.push(&format!(
            r#"<circle class="{class}" cx="{x:.1}" cy="{y:.1}" r="{radius:.1}"><title>{title}</title></circle>"#
        ));
    }

    pub(super) fn text(&mut self, class: &str, [x, y]: [f64; 2], anchor: Anchor, text: &str) {
        let anchor = match anchor {
            Anchor::Start => "start",
            Anchor::Middle => "middle",
            Anchor::End => "end",
        };
        let text = escape(text);
        self.push(&format!(r#"<text class="{class}" x="{x:.1}" y="{y:.1}" text-anchor="{anchor}">{text}</text>"#));
    }

    /// The finished drawing; `label` is what screen readers say.
    pub(super) fn finish(self, class: &str, label: &str) -> String {
        let Self { width, height, body } = self;
        let (class, label) = (escape(class), escape(label));
        format!(
            r#"<svg class="{class}" viewBox="0 0 {width:.0} {height:.0}" role="img" aria-label="{label}">{body}</svg>"#
        )
    }

    fn push(&mut self, element: &str) {
        self.body.push_str(element);
    }
}

pub(super) fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            // XML allows no other control characters.
            c if c.is_control() && !matches!(c, '\n' | '\t') => escaped.push('\u{fffd}'),
            c => escaped.push(c),
        }
    }
    escaped
}

/// A text cut to `limit` characters.
pub(super) fn shorten(text: &str, limit: usize) -> String {
    if text.chars().count() <= limit {
        return text.into();
    }
    let kept: String = text.chars().take(limit.saturating_sub(1)).collect();
    format!("{}…", kept.trim_end())
}

/// Moves label positions apart so that neighbours are at least `gap` apart, staying within the limits
/// where they fit, and keeping their order.
pub(super) fn spread(wanted: &[f64], gap: f64, low: f64, high: f64) -> Vec<f64> {
    let mut order: Vec<usize> = (0..wanted.len()).collect();
    order.sort_by(|a, b| wanted[*a].total_cmp(&wanted[*b]));
    let mut placed = wanted.to_vec();
    let mut floor = low;
    for &index in &order {
        placed[index] = placed[index].max(floor);
        floor = placed[index] + gap;
    }
    let mut ceiling = high;
    for &index in order.iter().rev() {
        placed[index] = placed[index].min(ceiling);
        ceiling = placed[index] - gap;
    }
    placed
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_round_and_inside() {
        let (ticks, decimals) = Axis::new(0.93, 1.21, 0.0, 100.0).ticks(4);
        let texts: Vec<String> = ticks.iter().map(|t| format!("{t:.decimals$}")).collect();
        assert_eq!(texts, ["1.0", "1.1", "1.2"]);
        let (ticks, decimals) = Axis::new(0.0, 538.0, 0.0, 1.0).ticks(5);
        assert_eq!((ticks, decimals), (vec![0.0, 200.0, 400.0], 0));
    }

    #[test]
    fn labels_are_spread_in_order() {
        let placed = spread(&[50.0, 52.0, 10.0, 99.0], 10.0, 0.0, 100.0);
        assert_eq!(placed, [50.0, 60.0, 10.0, 99.0]);
        assert_eq!(spread(&[98.0, 99.0], 10.0, 0.0, 100.0), [90.0, 100.0]);
    }

    #[test]
    fn text_is_escaped() {
        assert_eq!(escape("<a href=\"x\">&'\u{1b}"), "&lt;a href=&quot;x&quot;&gt;&amp;&#39;\u{fffd}");
        assert_eq!(shorten("geography", 5), "geog…");
    }
}
