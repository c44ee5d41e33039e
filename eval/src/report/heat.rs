use super::data::Report;
use super::matrix::RowKind;

/// Background of a heat-map cell on light and on dark pages, as sRGB. Blue is better, orange is worse,
/// which people with any common colour blindness can tell apart; the page's text keeps a contrast of at
/// least 4.5 to 1 on both.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HeatColor {
    /// For a light page.
    pub light: [u8; 3],
    /// For a dark page.
    pub dark: [u8; 3],
}

/// Diverging colour scale around no change.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct HeatScale {
    limit: f64,
}

struct Ends {
    neutral: [u8; 3],
    better: [u8; 3],
    worse: [u8; 3],
}

const LIGHT: Ends = Ends { neutral: [250, 250, 248], better: [122, 178, 230], worse: [244, 165, 96] };
const DARK: Ends = Ends { neutral: [30, 33, 39], better: [20, 84, 140], worse: [140, 70, 14] };

impl HeatScale {
    /// A scale that is saturated at `limit` percent and beyond.
    pub fn new(limit: f64) -> Self {
        Self { limit: if limit.is_finite() { limit.clamp(2.0, 40.0) } else { 40.0 } }
    }

    /// A scale that spans the changes of all rows but the teacher's.
    pub fn of(report: &Report) -> Self {
        let mut limit: f64 = 0.0;
        for row in report.matrix.rows.iter().filter(|row| row.kind != RowKind::Teacher) {
            for column in &report.matrix.columns {
                limit = limit.max(report.change_percent(row, &column.name).unwrap_or(0.0).abs());
            }
        }
        Self::new(limit.ceil())
    }

    /// The change at which the colour is strongest, in percent.
    pub fn limit(&self) -> f64 {
        self.limit
    }

    /// The colour of a change in percent; neutral when there is none.
    pub fn color(&self, percent: Option<f64>) -> HeatColor {
        let t = percent.filter(|p| p.is_finite()).unwrap_or(0.0) / self.limit;
        // A root makes small changes visible.
        let amount = t.abs().min(1.0).powf(0.75);
        let pick = |ends: &Ends| {
            let end = if t < 0.0 { ends.better } else { ends.worse };
            std::array::from_fn(|i| {
                let (from, to) = (f64::from(ends.neutral[i]), f64::from(end[i]));
                (from + (to - from) * amount).round() as u8
            })
        };
        HeatColor { light: pick(&LIGHT), dark: pick(&DARK) }
    }
}

impl HeatColor {
    /// The colours as the CSS custom properties `--light` and `--dark`.
    pub fn css(&self) -> String {
        let hex = |[r, g, b]: [u8; 3]| format!("#{r:02x}{g:02x}{b:02x}");
        format!("--light:{};--dark:{}", hex(self.light), hex(self.dark))
    }
}
