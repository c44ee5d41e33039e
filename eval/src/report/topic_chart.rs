use super::charts::NARROW;
use super::data::Report;
use super::matrix::RowKind;
use super::quantity;
use super::svg::{Anchor, Axis, Drawing, shorten};

/// For each topic, the base, the base with the topic's module, and the teacher on one line of bits per
/// byte, as SVG. None when no topic was measured for at least two of them.
pub fn topic_chart(report: &Report, width: f64, class: &str) -> Option<String> {
    let (base, teacher) = (report.row(RowKind::Base), report.row(RowKind::Teacher));
    let mut lines = Vec::new();
    for column in report.topics() {
        let module = report.module_for(&column.name).and_then(|m| report.module_row(&m.name));
        let values = [base, module, teacher].map(|row| row.and_then(|row| report.value(row, &column.name)));
        if values.iter().flatten().count() >= 2 {
            lines.push((column.name.as_str(), values));
        }
    }
    let all: Vec<f64> = lines.iter().flat_map(|(_, values)| values.iter().flatten().copied()).collect();
    let low = all.iter().copied().reduce(f64::min)?;
    let high = all.iter().copied().reduce(f64::max)?;
    let margin = ((high - low) * 0.08).max(0.005);
    let step = 54.0;
    let (top, bottom) = (14.0, 14.0 + step * lines.len() as f64);
    let x = Axis::new(low - margin, high + margin, 16.0, width - 16.0);

    let mut drawing = Drawing::new(width, bottom + 44.0);
    let (ticks, decimals) = x.ticks(if width < NARROW { 4 } else { 6 });
    for tick in ticks {
        drawing.line("grid", [x.at(tick), top], [x.at(tick), bottom]);
        drawing.text("tick", [x.at(tick), bottom + 17.0], Anchor::Middle, &quantity::fixed(tick, decimals));
    }
    drawing.text("axis", [width / 2.0, bottom + 38.0], Anchor::Middle, "bits per byte (left is better)");
    let mut spoken = Vec::new();
    for (index, (topic, values)) in lines.iter().enumerate() {
        let level = top + step * index as f64 + 34.0;
        drawing.text("label strong", [16.0, level - 16.0], Anchor::Start, &shorten(topic, 36));
        drawing.line("grid", [x.at(x.low), level], [x.at(x.high), level]);
        let own = report.module_for(topic).and_then(|module| report.own_gain(module));
        if let Some(gain) = own {
            let change = quantity::change(Some(-gain.percent));
            drawing.text("label", [width - 16.0, level - 16.0], Anchor::End, &change);
        }
        let [base, module, _] = values.map(|value| value.map(|value| x.at(value)));
        if let (Some(base), Some(module)) = (base, module) {
            drawing.line("gain", [base, level], [module, level]);
        }
        for (value, (kind, what)) in
            values.iter().zip([("plain", "base"), ("module", "base + its module"), ("teacher", "teacher")])
        {
            let Some(value) = value else { continue };
            let title = format!("{topic}, {what}: {}", quantity::fixed(*value, 3));
            drawing.dot(&format!("dot {kind}"), [x.at(*value), level], 6.5, &title);
            spoken.push(title);
        }
    }
    Some(drawing.finish(class, &format!("Bits per byte by topic. {}.", spoken.join("; "))))
}
