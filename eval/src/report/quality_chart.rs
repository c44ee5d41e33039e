use super::charts::{NARROW, grid};
use super::data::Report;
use super::derived::QualityPoint;
use super::matrix::RowKind;
use super::quantity;
use super::svg::{Anchor, Axis, Drawing, shorten, spread};

/// Names longer than this are cut.
const NAME: usize = 26;

/// A measured point and where it is drawn.
struct Placed<'a> {
    point: &'a QualityPoint,
    at: [f64; 2],
}

/// Pixels of the plot's edges, and whether labels take two lines.
struct Plot {
    left: f64,
    right: f64,
    top: f64,
    bottom: f64,
    narrow: bool,
}

/// Mean bits per byte over the topics against bytes in memory, as SVG, `width` pixels wide. None when
/// fewer than two rows were measured in full.
pub fn quality_chart(report: &Report, width: f64, class: &str) -> Option<String> {
    let points = report.quality();
    if points.len() < 2 {
        return None;
    }
    let narrow = width < NARROW;
    let height = if narrow { 380.0 } else { 390.0 };
    // The values stand on the right, since most labels stand on the left.
    let plot = Plot { left: 8.0, right: width - 40.0, top: 30.0, bottom: height - 50.0, narrow };
    let bits = || points.iter().map(|p| p.bits_per_byte);
    let (low, high) = (bits().reduce(f64::min)?, bits().reduce(f64::max)?);
    let most = points.iter().map(|p| p.resident_bytes as f64).reduce(f64::max)?;
    let units = [(1e9, "GB"), (1e6, "MB"), (1e3, "kB")];
    let (size, unit) = units.into_iter().find(|(size, _)| most >= *size).unwrap_or((1.0, "B"));
    let margin = ((high - low) * 0.12).max(high.abs() * 0.005);
    let x = Axis::new(0.0, most / size * 1.06, plot.left, plot.right);
    let y = Axis::new(low - margin, high + margin, plot.bottom, plot.top);
    let placed: Vec<Placed<'_>> = points
        .iter()
        .map(|point| Placed { point, at: [x.at(point.resident_bytes as f64 / size), y.at(point.bits_per_byte)] })
        .collect();

    let mut drawing = Drawing::new(width, height);
    let titles = [&format!("{unit} of weights in memory"), "bits per byte"];
    grid(&mut drawing, (&x, &y), Anchor::End, if narrow { 4 } else { 6 }, titles);
    let (teachers, others): (Vec<&Placed<'_>>, Vec<&Placed<'_>>) =
        placed.iter().partition(|placed| placed.point.kind == RowKind::Teacher);
    for teacher in &teachers {
        let [px, py] = teacher.at;
        drawing.line("reference", [plot.left, py], [plot.right, py]);
        let label_x = (px + 8.0).max(plot.left + 150.0);
        drawing.text("label", [label_x, py - 13.0], Anchor::End, &label(teacher.point));
    }
    let middle = (plot.left + plot.right) / 2.0;
    let teacher_y = teachers.first().map(|teacher| teacher.at[1]);
    // Labels stand on the side with more room.
    let (rightmost, leftmost): (Vec<&Placed<'_>>, Vec<&Placed<'_>>) =
        others.into_iter().partition(|placed| placed.at[0] > middle);
    labels(&mut drawing, &plot, &rightmost, Anchor::End, teacher_y);
    labels(&mut drawing, &plot, &leftmost, Anchor::Start, teacher_y);
    for Placed { point, at } in &placed {
        let kind = match point.kind {
            RowKind::Teacher => "teacher",
            RowKind::Base => "plain",
            RowKind::Module => "module",
            _ => "mix",
        };
        drawing.dot(&format!("dot {kind}"), *at, 6.5, &spoken(point));
    }
    let all: Vec<String> = points.iter().map(spoken).collect();
    Some(drawing.finish(class, &format!("Bits per byte against memory. {}.", all.join("; "))))
}

/// Labels of some points, moved apart, each joined to its point by a line.
fn labels(drawing: &mut Drawing, plot: &Plot, side: &[&Placed<'_>], anchor: Anchor, teacher_y: Option<f64>) {
    let wanted: Vec<f64> = side.iter().map(|placed| placed.at[1]).collect();
    let lowest = wanted.iter().copied().fold(plot.top, f64::max);
    let (gap, away, clear) = if plot.narrow { (36.0, 17.0, 48.0) } else { (22.0, 40.0, 14.0) };
    // Where the teacher is the best, its line is kept free.
    let teacher_y = teacher_y.filter(|line| *line > lowest);
    let limit = teacher_y.map_or(plot.bottom - 10.0, |line| line - clear);
    let first = plot.top + 6.0;
    // The labels stand in one column, clear of every point.
    let xs = side.iter().map(|placed| placed.at[0]);
    let (toward, label_x) = match anchor {
        Anchor::End => (-1.0, xs.fold(plot.right, f64::min) - away),
        _ => (1.0, xs.fold(plot.left, f64::max) + away),
    };
    for (placed, label_y) in side.iter().zip(spread(&wanted, gap, first, limit.max(first))) {
        let (point, [px, py]) = (placed.point, placed.at);
        drawing.line("leader", [px + 8.0 * toward, py], [label_x - 4.0 * toward, label_y]);
        let class = if point.kind == RowKind::Module { "label strong" } else { "label" };
        if plot.narrow {
            drawing.text(class, [label_x, label_y], anchor, &shorten(&point.label, NAME));
            let bits = quantity::bits(Some(point.bits_per_byte));
            drawing.text(class, [label_x, label_y + 15.0], anchor, &bits);
        } else {
            drawing.text(class, [label_x, label_y + 4.5], anchor, &label(point));
        }
    }
}

fn label(point: &QualityPoint) -> String {
    let bits = quantity::bits(Some(point.bits_per_byte));
    format!("{}  {bits}", shorten(&point.label, NAME))
}

fn spoken(point: &QualityPoint) -> String {
    let bits = quantity::bits(Some(point.bits_per_byte));
    format!("{}: {bits} bits per byte in {}", point.label, quantity::bytes(point.resident_bytes))
}
