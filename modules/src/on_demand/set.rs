//! Which modules are wanted, and how much of each.

use std::fmt;

/// Names and weights of modules, in the order of their names.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ModuleSet {
    modules: Vec<(String, f32)>,
}

impl ModuleSet {
    /// No module: the base alone.
    pub fn none() -> Self {
        Self::default()
    }

    /// These modules.
    ///
    /// # Errors
    /// A name that is empty or given twice, a weight that is not finite; one sentence.
    pub fn new(modules: impl IntoIterator<Item = (String, f32)>) -> Result<Self, String> {
        let mut modules: Vec<(String, f32)> = modules.into_iter().collect();
        modules.sort_by(|a, b| a.0.cmp(&b.0));
        if modules.iter().any(|(name, _)| name.is_empty()) {
            return Err("a module has no name".to_owned());
        }
        if let Some(pair) = modules.windows(2).find(|pair| pair[0].0 == pair[1].0) {
            return Err(format!("module `{}` is named twice", pair[0].0));
        }
        if let Some((name, weight)) = modules.iter().find(|(_, weight)| !weight.is_finite()) {
            return Err(format!("the weight of module `{name}` is {weight}; expected a finite number"));
        }
        Ok(Self { modules })
    }

    /// Reads `NAME[=WEIGHT]`, several of them with `separator` between; the weight is 1 where none is given.
    ///
    /// # Errors
    /// As [`ModuleSet::new`], and a weight that is not a number.
    pub fn parse(text: &str, separator: char) -> Result<Self, String> {
        let parts = text.split(separator).map(|part| match part.split_once('=') {
            None => Ok((part.trim().to_owned(), 1.0)),
            Some((name, weight)) => match weight.trim().parse() {
                Ok(weight) => Ok((name.trim().to_owned(), weight)),
                Err(_) => Err(format!("the weight `{weight}` of module `{name}` is not a number")),
            },
        });
        Self::new(parts.collect::<Result<Vec<_>, String>>()?)
    }

    /// Names and weights.
    pub fn modules(&self) -> &[(String, f32)] {
        &self.modules
    }

    /// Whether it is the base alone.
    pub fn is_empty(&self) -> bool {
        self.modules.is_empty()
    }

    /// The set with a module at this weight, instead of what it had.
    pub fn with(&self, name: &str, weight: f32) -> Self {
        let mut set = self.without(name);
        let place = set.modules.partition_point(|(other, _)| other.as_str() < name);
        set.modules.insert(place, (name.to_owned(), weight));
        set
    }

    /// The set without a module.
    pub fn without(&self, name: &str) -> Self {
        Self { modules: self.modules.iter().filter(|(other, _)| other != name).cloned().collect() }
    }
}

/// `a=0.5+b`; nothing for the base alone.
impl fmt::Display for ModuleSet {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, (name, weight)) in self.modules.iter().enumerate() {
            out.write_str(if place == 0 { "" } else { "+" })?;
            out.write_str(name)?;
            if *weight != 1.0 {
                write!(out, "={weight}")?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::ModuleSet;

    #[test]
    fn names_and_weights_are_read_and_written() {
        let set = ModuleSet::parse("rivers=0.5, hills,lakes=-1", ',').unwrap();
        let expected = [("hills".to_owned(), 1.0), ("lakes".to_owned(), -1.0), ("rivers".to_owned(), 0.5)];
        assert_eq!(set.modules(), expected);
        assert_eq!(set.to_string(), "hills+lakes=-1+rivers=0.5");
        assert_eq!(ModuleSet::parse(&set.to_string(), '+').unwrap(), set);
        assert_eq!(set.with("hills", 2.0).without("lakes").to_string(), "hills=2+rivers=0.5");
        assert_eq!(set.with("alps", 1.0).to_string(), "alps+hills+lakes=-1+rivers=0.5");
        assert_eq!(ModuleSet::none().to_string(), "");
    }

    #[test]
    fn what_is_not_a_set_is_told() {
        let problem = |text: &str| ModuleSet::parse(text, '+').unwrap_err();
        assert!(problem("a+b+a=2").contains("`a` is named twice"));
        assert!(problem("a=much").contains("`much` of module `a` is not a number"));
        assert!(problem("a=inf").contains("expected a finite number"));
        assert!(problem("a++b").contains("has no name"));
        assert!(problem("").contains("has no name"));
    }
}
