use serde::Serialize;

use super::data::{ModuleFacts, Report};
use super::matrix::{Cell, Column, Row, RowKind};

/// What follows from a report's measurements; written beside them in `report.json` under `derived`.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Derived {
    /// Share of the distance from untrained student to teacher that training closed; 1 is the teacher.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gap_closed: Option<f64>,
    /// How many more bits per byte of general English the base needs than its teacher, in percent of the teacher's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub above_teacher: Option<f64>,
    /// Each row's change against the base row, for each column measured in both.
    pub changes: Vec<Change>,
    /// What each module gains on its own topic.
    pub own_gains: Vec<OwnGain>,
    /// Share of each module's own gain that each combination keeps.
    pub retained: Vec<Retained>,
    /// Change of every row with modules on general English; above 0 is forgetting.
    pub forgetting: Vec<Change>,
    /// Change of each single module on other modules' topics; above 0 is interference.
    pub interference: Vec<Change>,
    /// Mean quality over the topics against bytes in memory.
    pub quality: Vec<QualityPoint>,
    /// Share of passages for which the right module was chosen.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub routing_accuracy: Option<f64>,
}

/// A row's change against the base on one column.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Change {
    /// Row name.
    pub row: String,
    /// Column name.
    pub column: String,
    /// Change of bits per byte in percent of the base's; below 0 is better.
    pub percent: f64,
}

/// What a module gains on its own topic.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct OwnGain {
    /// Module name.
    pub module: String,
    /// Its topic.
    pub topic: String,
    /// Bits per byte saved against the base.
    pub bits_per_byte: f64,
    /// The same in percent of the base's bits per byte.
    pub percent: f64,
}

/// Share of a module's own gain that a combination keeps on that module's topic.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Retained {
    /// Row name of the combination.
    pub row: String,
    /// Module name.
    pub module: String,
    /// 1 keeps all of the gain, below 0 is worse than the base.
    pub share: f64,
}

/// Mean bits per byte over the topic columns at a size in memory.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct QualityPoint {
    /// What is loaded.
    pub label: String,
    /// Row kind; [`RowKind::Module`] stands for the module each topic needs.
    pub kind: RowKind,
    /// Bytes of weights in memory.
    pub resident_bytes: u64,
    /// Mean over the topic columns.
    pub bits_per_byte: f64,
}

impl Report {
    /// The first row of a kind.
    pub fn row(&self, kind: RowKind) -> Option<&Row> {
        self.matrix.rows.iter().find(|row| row.kind == kind)
    }

    /// The row with only this module loaded.
    pub fn module_row(&self, module: &str) -> Option<&Row> {
        let alone = |row: &&Row| row.kind == RowKind::Module && row.modules.len() == 1 && row.modules[0] == module;
        self.matrix.rows.iter().find(alone)
    }

    /// Bits per byte of a row on a column, when measured and finite.
    pub fn value(&self, row: &Row, column: &str) -> Option<f64> {
        row.cells.get(column).map(|cell: &Cell| cell.bits_per_byte).filter(|value| value.is_finite())
    }

    /// Change of a row against the base row in percent; below 0 is better.
    pub fn change_percent(&self, row: &Row, column: &str) -> Option<f64> {
        let base = self.value(self.row(RowKind::Base)?, column).filter(|base| *base > 0.0)?;
        Some((self.value(row, column)? / base - 1.0) * 100.0)
    }

    /// Bits per byte saved against the base row.
    pub fn gain(&self, row: &Row, column: &str) -> Option<f64> {
        Some(self.value(self.row(RowKind::Base)?, column)? - self.value(row, column)?)
    }

    /// Columns that are topics, not general English.
    pub fn topics(&self) -> impl Iterator<Item = &Column> {
        self.matrix.columns.iter().filter(|column| !column.general)
    }

    /// Columns of general English.
    pub fn general(&self) -> impl Iterator<Item = &Column> {
        self.matrix.columns.iter().filter(|column| column.general)
    }

    /// The module trained on a topic.
    pub fn module_for(&self, topic: &str) -> Option<&ModuleFacts> {
        self.modules.iter().find(|module| module.topic == topic)
    }

    /// Shares of the own gains that one combination keeps; modules without a gain are left out.
    pub fn retained(&self, row: &Row) -> Vec<Retained> {
        let modules = self.modules.iter().filter(|module| row.modules.contains(&module.name));
        modules
            .filter_map(|module| {
                let own = self.gain(self.module_row(&module.name)?, &module.topic).filter(|gain| *gain > 0.0)?;
                let share = self.gain(row, &module.topic)? / own;
                Some(Retained { row: row.name.clone(), module: module.name.clone(), share })
            })
            .collect()
    }

    /// Works out everything that follows from the measurements.
    pub fn derived(&self) -> Derived {
        let combinations = self.matrix.rows.iter().filter(|row| row.kind.is_combination());
        Derived {
            gap_closed: self.gap_closed(),
            above_teacher: self.above_teacher(),
            changes: self.changes(|row, _| row.kind != RowKind::Base),
            own_gains: self.modules.iter().filter_map(|module| self.own_gain(module)).collect(),
            retained: combinations.flat_map(|row| self.retained(row)).collect(),
            forgetting: self
                .changes(|row, column| column.general && (row.kind == RowKind::Module || row.kind.is_combination())),
            interference: self.changes(|row, column| {
                let own = |name: &String| self.modules.iter().any(|m| m.name == *name && m.topic == column.name);
                row.kind == RowKind::Module && !column.general && !row.modules.iter().any(own)
            }),
            quality: self.quality(),
            routing_accuracy: self.routing_accuracy(),
        }
    }

    /// How many more bits per byte of general English the base needs than its teacher, in percent of the teacher's.
    pub fn above_teacher(&self) -> Option<f64> {
        let d = self.distillation.as_ref()?;
        let above = 100.0 * (d.student_bits_per_byte / d.teacher_bits_per_byte - 1.0);
        above.is_finite().then_some(above)
    }

    /// Share of the distance from the untrained student to the teacher that distillation closed. It is the larger, the worse
    /// the student began.
    pub fn gap_closed(&self) -> Option<f64> {
        let d = self.distillation.as_ref()?;
        let gap = d.untrained_bits_per_byte - d.teacher_bits_per_byte;
        let closed = (d.untrained_bits_per_byte - d.student_bits_per_byte) / gap;
        (gap > 0.0 && closed.is_finite()).then_some(closed)
    }

    /// Share of passages for which the right module was chosen.
    pub fn routing_accuracy(&self) -> Option<f64> {
        let topics = &self.routing.as_ref()?.topics;
        let passages: u64 = topics.iter().map(|topic| topic.passages).sum();
        let correct: u64 = topics.iter().map(|topic| topic.correct).sum();
        (passages > 0).then(|| correct as f64 / passages as f64)
    }

    /// What a module gains on its own topic.
    pub fn own_gain(&self, module: &ModuleFacts) -> Option<OwnGain> {
        let row = self.module_row(&module.name)?;
        Some(OwnGain {
            module: module.name.clone(),
            topic: module.topic.clone(),
            bits_per_byte: self.gain(row, &module.topic)?,
            percent: -self.change_percent(row, &module.topic)?,
        })
    }

    fn changes(&self, wanted: impl Fn(&Row, &Column) -> bool) -> Vec<Change> {
        let mut changes = Vec::new();
        for row in &self.matrix.rows {
            for column in self.matrix.columns.iter().filter(|column| wanted(row, column)) {
                if let Some(percent) = self.change_percent(row, &column.name) {
                    changes.push(Change { row: row.name.clone(), column: column.name.clone(), percent });
                }
            }
        }
        changes
    }

    /// Mean bits per byte over the topics against bytes in memory: the base, the module each topic
    /// needs, every combination, the teacher.
    pub fn quality(&self) -> Vec<QualityPoint> {
        let mean = |value: &dyn Fn(&str) -> Option<f64>| {
            let values: Option<Vec<f64>> = self.topics().map(|column| value(&column.name)).collect();
            values.filter(|v| !v.is_empty()).map(|v| v.iter().sum::<f64>() / v.len() as f64)
        };
        let mut points = Vec::new();
        for row in self.matrix.rows.iter().filter(|row| !matches!(row.kind, RowKind::Module | RowKind::Control)) {
            let (bits, bytes) = (mean(&|column| self.value(row, column)), row.resident_bytes);
            if let (Some(bits_per_byte), Some(resident_bytes)) = (bits, bytes) {
                points.push(QualityPoint { label: row.name.clone(), kind: row.kind, resident_bytes, bits_per_byte });
            }
        }
        let needed = |topic: &str| self.module_for(topic).and_then(|module| self.module_row(&module.name));
        let bits = mean(&|topic| self.value(needed(topic).or(self.row(RowKind::Base))?, topic));
        let bytes = self.topics().filter_map(|topic| needed(&topic.name)?.resident_bytes).max();
        if let (Some(bits_per_byte), Some(resident_bytes)) = (bits, bytes) {
            let label = String::from("base + module needed");
            let at = points.iter().position(|p| p.kind == RowKind::Base).map_or(0, |at| at + 1);
            points.insert(at, QualityPoint { label, kind: RowKind::Module, resident_bytes, bits_per_byte });
        }
        points
    }
}
