//! A generated expression: a tree of templates, so that it can be made smaller in a way that keeps it an expression.

/// See the module.
#[derive(Debug, Clone)]
pub(crate) struct Expression {
    /// The text between, before and after the children.
    pub(crate) pieces: Vec<String>,
    /// One fewer than pieces.
    pub(crate) children: Vec<Expression>,
    /// Whether it stands in parentheses where it is a child.
    pub(crate) wrapped: bool,
}

impl Expression {
    /// An expression without parts.
    pub(crate) fn leaf(text: &str) -> Self {
        Self { pieces: vec![text.to_owned()], children: Vec::new(), wrapped: false }
    }

    /// The source text.
    pub(crate) fn text(&self) -> String {
        let mut text = String::new();
        self.write(&mut text);
        text
    }

    fn write(&self, text: &mut String) {
        for (index, piece) in self.pieces.iter().enumerate() {
            text.push_str(piece);
            if let Some(child) = self.children.get(index) {
                if child.wrapped {
                    text.push('(');
                }
                child.write(text);
                if child.wrapped {
                    text.push(')');
                }
            }
        }
    }

    /// Smaller expressions that differ from this one in one place.
    pub(crate) fn smaller(&self) -> Vec<Self> {
        let mut found = self.children.clone();
        if self.text().len() > 4 {
            found.extend(["0", "{ }", "[ ]", "\"\""].map(Self::leaf));
        }
        for (index, child) in self.children.iter().enumerate() {
            for mut smaller in child.smaller() {
                smaller.wrapped |= child.wrapped && !smaller.children.is_empty();
                let mut copy = self.clone();
                copy.children[index] = smaller;
                found.push(copy);
            }
        }
        found
    }
}
