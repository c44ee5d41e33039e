//! Where a text has to end.

/// Lets text through up to the first of some strings, holding back what could be the beginning of one.
#[derive(Debug, Default)]
pub struct Stops {
    stops: Vec<String>,
    held: String,
}

impl Stops {
    /// Of these strings; empty ones are as if they were not there.
    pub fn new(stops: Vec<String>) -> Self {
        Self { stops: stops.into_iter().filter(|stop| !stop.is_empty()).collect(), held: String::new() }
    }

    /// Takes more text and gives what is certain, and whether the end is reached.
    pub fn push(&mut self, text: &str) -> (String, bool) {
        self.held.push_str(text);
        if let Some(end) = self.stops.iter().filter_map(|stop| self.held.find(stop)).min() {
            self.held.truncate(end);
            return (std::mem::take(&mut self.held), true);
        }
        let is_beginning = |from: &usize| {
            let tail = &self.held[*from..];
            self.stops.iter().any(|stop| stop.starts_with(tail))
        };
        let longest = self.stops.iter().map(String::len).max().unwrap_or(0);
        let earliest = self.held.len().saturating_sub(longest);
        let places = self.held.char_indices().map(|(place, _)| place).filter(|place| *place >= earliest);
        let kept = places.into_iter().find(is_beginning).unwrap_or(self.held.len());
        let rest = self.held.split_off(kept);
        (std::mem::replace(&mut self.held, rest), false)
    }

    /// What was held back, when no more text comes.
    pub fn finish(&mut self) -> String {
        std::mem::take(&mut self.held)
    }
}

#[cfg(test)]
mod tests {
    use super::Stops;

    fn through(stops: &[&str], pieces: &[&str]) -> (Vec<String>, bool) {
        let mut filter = Stops::new(stops.iter().map(|stop| (*stop).to_owned()).collect());
        let mut out = Vec::new();
        for piece in pieces {
            let (text, end) = filter.push(piece);
            out.push(text);
            if end {
                return (out, true);
            }
        }
        out.push(filter.finish());
        (out, false)
    }

    #[test]
    fn text_ends_before_the_first_stop() {
        assert_eq!(through(&[], &["a", "b"]).0.concat(), "ab");
        let (text, end) = through(&["\n\n", "END"], &["one\n", "two E", "N", "D three\n\n"]);
        assert_eq!((text, end), (vec!["one".to_owned(), "\ntwo ".into(), String::new(), String::new()], true));
        // What only began like a stop comes after all.
        let (text, end) = through(&["STOP"], &["ST", "OR", "ES ST"]);
        assert_eq!((text.concat().as_str(), end), ("STORES ST", false));
        let (text, end) = through(&["b", "ab"], &["xa", "b"]);
        assert_eq!((text.concat().as_str(), end), ("x", true));
        let (text, end) = through(&["é!"], &["caf", "é", "?"]);
        assert_eq!((text.concat().as_str(), end), ("café?", false));
        assert_eq!(through(&[""], &["a"]).0.concat(), "a");
    }
}
