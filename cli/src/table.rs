//! Aligned columns.

/// Lines of a table: `text` columns to the left, then numbers to the right.
pub fn lines(headers: &[&str], rows: &[Vec<String>], text: usize) -> String {
    let mut widths: Vec<usize> = headers.iter().map(|header| header.chars().count()).collect();
    for row in rows {
        widths.iter_mut().zip(row).for_each(|(width, cell)| *width = (*width).max(cell.chars().count()));
    }
    let line = |cells: Vec<&str>| {
        let mut line = String::new();
        for (column, (cell, width)) in cells.into_iter().zip(&widths).enumerate() {
            let padding = " ".repeat(width - cell.chars().count());
            let cell = if column < text { format!("{cell}{padding}") } else { format!("{padding}{cell}") };
            line.push_str(if column == 0 { "" } else { "  " });
            line.push_str(&cell);
        }
        line.trim_end().to_owned() + "\n"
    };
    let rows = rows.iter().map(|row| line(row.iter().map(String::as_str).collect()));
    std::iter::once(line(headers.to_vec())).chain(rows).collect()
}

#[cfg(test)]
mod tests {
    #[test]
    fn numbers_are_to_the_right() {
        let rows = [vec!["a".to_owned(), "10".to_owned()], vec!["long".to_owned(), "1".to_owned()]];
        assert_eq!(super::lines(&["name", "n"], &rows, 1), "name   n\na     10\nlong   1\n");
    }
}
