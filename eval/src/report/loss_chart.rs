use super::charts::grid;
use super::data::CurvePoint;
use super::quantity;
use super::svg::{Anchor, Axis, Drawing, shorten, spread};

/// A named training log to draw.
#[derive(Debug, Clone, Copy)]
pub struct Series<'a> {
    /// Label at the end of the line.
    pub name: &'a str,
    /// The log.
    pub points: &'a [CurvePoint],
}

/// Colours in the style sheet: classes `s0` to `s7`, then the same again with dashes.
const COLORS: usize = 8;
/// More points than this are averaged in groups.
const MOST_POINTS: usize = 240;

/// Training loss against tokens, one line per series, as SVG. None when no series has two finite points.
pub fn loss_chart(series: &[Series<'_>], width: f64, class: &str) -> Option<String> {
    let lines: Vec<(usize, &str, Vec<[f64; 2]>)> = series
        .iter()
        .enumerate()
        .map(|(index, series)| (index, series.name, thinned(series.points)))
        .filter(|(_, _, points)| points.len() >= 2)
        .collect();
    let all = || lines.iter().flat_map(|(_, _, points)| points.iter());
    let most = all().map(|p| p[0]).reduce(f64::max)?;
    let low = all().map(|p| p[1]).reduce(f64::min)?;
    let high = all().map(|p| p[1]).reduce(f64::max)?;
    let (size, unit) = if most >= 2e6 { (1e6, "million tokens") } else { (1e3, "thousand tokens") };
    let named = lines.len() > 1;
    let height = 290.0;
    let (left, right) = (46.0, if named { width - 128.0 } else { width - 20.0 });
    let margin = ((high - low) * 0.06).max(high.abs() * 0.002);
    let x = Axis::new(0.0, most / size, left, right);
    let y = Axis::new(low - margin, high + margin, height - 46.0, 26.0);

    let mut drawing = Drawing::new(width, height);
    grid(&mut drawing, (&x, &y), Anchor::Start, 4, [&format!("{unit} trained on"), "nats per token"]);
    let ends: Vec<f64> = lines.iter().map(|(_, _, points)| y.at(points[points.len() - 1][1])).collect();
    let labels = spread(&ends, 18.0, 28.0, height - 50.0);
    for (((index, name, points), end), label_y) in lines.iter().zip(ends).zip(labels) {
        let dashes = if index / COLORS % 2 == 1 { " dashed" } else { "" };
        let class = format!("curve s{}{dashes}", index % COLORS);
        let drawn: Vec<[f64; 2]> = points.iter().map(|[a, b]| [x.at(a / size), y.at(*b)]).collect();
        drawing.path(&class, &drawn);
        if named {
            let from = drawn[drawn.len() - 1][0];
            drawing.line(&format!("stub s{}", index % COLORS), [from + 3.0, end], [right + 14.0, label_y]);
            drawing.text("label", [right + 18.0, label_y + 4.5], Anchor::Start, &shorten(name, 15));
        }
    }
    let spoken: Vec<String> = lines
        .iter()
        .map(|(_, name, p)| {
            format!("{name} from {} to {}", quantity::fixed(p[0][1], 2), quantity::fixed(p[p.len() - 1][1], 2))
        })
        .collect();
    Some(drawing.finish(class, &format!("Training loss. {}.", spoken.join("; "))))
}

/// Tokens and loss, averaged in groups when there are many points.
fn thinned(points: &[CurvePoint]) -> Vec<[f64; 2]> {
    let finite: Vec<[f64; 2]> =
        points.iter().filter(|p| p.loss.is_finite()).map(|p| [p.tokens as f64, p.loss]).collect();
    let group = finite.len().div_ceil(MOST_POINTS).max(1);
    let mean = |chunk: &[[f64; 2]], i: usize| chunk.iter().map(|p| p[i]).sum::<f64>() / chunk.len() as f64;
    finite.chunks(group).map(|chunk| [mean(chunk, 0), mean(chunk, 1)]).collect()
}
