use super::data::Report;
use super::matrix::RowKind;
use super::quantity;

/// The run's result in one or two plain sentences.
pub fn headline(report: &Report) -> String {
    let mut sentences = Vec::new();
    if let Some(teacher) = report.teacher.as_ref().filter(|teacher| teacher.resident_bytes > 0) {
        let share = report.base.resident_bytes as f64 / teacher.resident_bytes as f64;
        sentences.push(format!("The base is {} of the teacher’s size.", quantity::share(Some(share))));
    }
    let gains = report.derived().own_gains;
    match gains.as_slice() {
        [] => sentences.extend(report.above_teacher().map(|above| {
            let than = if above < 0.0 { "fewer" } else { "more" };
            format!("For general English it needs {} % {than} bits than the teacher.", quantity::fixed(above.abs(), 1))
        })),
        [gain] => sentences.push(format!(
            "Adding the {} module makes unseen {} text {}.",
            gain.module,
            gain.topic,
            effect(gain.percent)
        )),
        gains => {
            let mean = gains.iter().map(|gain| gain.percent).sum::<f64>() / gains.len() as f64;
            sentences.push(format!(
                "Adding the module a topic needs makes unseen text on it {}, averaged over {} topics.",
                effect(mean),
                gains.len()
            ));
        }
    }
    if sentences.is_empty() {
        sentences.push(format!("Results of {}.", report.name));
    }
    sentences.join(" ")
}

fn effect(percent: f64) -> String {
    let change = quantity::fixed(percent.abs(), 1);
    if percent >= 0.05 {
        format!("{change} % cheaper to predict")
    } else if percent <= -0.05 {
        format!("{change} % more costly to predict")
    } else {
        String::from("no cheaper to predict")
    }
}

/// How the base with the one module needed stands against the teacher, in plain sentences. None when
/// either was not measured.
pub fn claim_on_trial(report: &Report) -> Option<String> {
    let points = report.quality();
    let point = |kind| points.iter().find(|point| point.kind == kind);
    let (base, module, teacher) = (point(RowKind::Base)?, point(RowKind::Module)?, point(RowKind::Teacher)?);
    if teacher.resident_bytes == 0 {
        return None;
    }
    let memory = quantity::share(Some(module.resident_bytes as f64 / teacher.resident_bytes as f64));
    let [of_module, of_teacher] = [module, teacher].map(|point| quantity::bits(Some(point.bits_per_byte)));
    let verdict = if module.bits_per_byte <= teacher.bits_per_byte {
        format!("passes the teacher ({of_module} bits per byte against {of_teacher})")
    } else if base.bits_per_byte <= teacher.bits_per_byte {
        format!("needs {of_module} bits per byte, the teacher {of_teacher}")
    } else {
        let way = (base.bits_per_byte - module.bits_per_byte) / (base.bits_per_byte - teacher.bits_per_byte);
        let way = quantity::share(Some(way));
        format!("goes {way} of the way from the base to the teacher ({of_module} bits per byte against {of_teacher})")
    };
    Some(format!("With {memory} of the teacher’s memory, the base with the one module needed {verdict}."))
}
