//! What the charts of the report have in common.

use super::quantity;
use super::svg::{Anchor, Axis, Drawing};

/// Charts less wide than this have two-line labels and fewer ticks.
pub(super) const NARROW: f64 = 420.0;

/// Grid lines, the values of both axes and their titles; the vertical values stand at `side`.
pub(super) fn grid(
    drawing: &mut Drawing,
    (x, y): (&Axis, &Axis),
    side: Anchor,
    across: usize,
    [title, vertical]: [&str; 2],
) {
    let (left, right, bottom) = (x.at(x.low), x.at(x.high), y.at(y.low));
    let (value_x, value_anchor, title_x) = match side {
        Anchor::End => (right + 8.0, Anchor::Start, right + 38.0),
        _ => (left - 8.0, Anchor::End, left - 42.0),
    };
    let (ticks, decimals) = y.ticks(5);
    for tick in ticks {
        drawing.line("grid", [left, y.at(tick)], [right, y.at(tick)]);
        drawing.text("tick", [value_x, y.at(tick) + 4.0], value_anchor, &quantity::fixed(tick, decimals));
    }
    let (ticks, decimals) = x.ticks(across);
    for tick in ticks {
        drawing.text("tick", [x.at(tick), bottom + 18.0], Anchor::Middle, &quantity::fixed(tick, decimals));
    }
    drawing.text("axis", [title_x, y.at(y.high) - 10.0], side, vertical);
    drawing.line("frame", [left, bottom], [right, bottom]);
    drawing.text("axis", [(left + right) / 2.0, bottom + 40.0], Anchor::Middle, title);
}
