//! What `/bootstrap-dns` answers to clients whose DNS fails (tailscale: cmd/derper/bootstrap_dns.go). Pure.

use std::collections::HashMap;
use std::sync::Arc;

/// Texts of JSON, name -> list of IP addresses.
pub(crate) struct BootstrapDns {
    published: Arc<str>,
    unpublished: HashMap<String, Arc<str>>,
}

impl BootstrapDns {
    pub(crate) fn new(published: &str, unpublished: HashMap<String, String>) -> Self {
        let unpublished = unpublished.into_iter();
        Self {
            published: published.into(),
            unpublished: unpublished
                .map(|(name, json)| (name, json.into()))
                .collect(),
        }
    }

    /// An unpublished name is told to who knows it; everybody else hears all that is published.
    pub(crate) fn answer(&self, asked: Option<&str>) -> Arc<str> {
        let hidden = asked.and_then(|name| self.unpublished.get(name));
        Arc::clone(hidden.unwrap_or(&self.published))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unpublished_name_is_told_to_who_asks_for_it_and_to_nobody_else() {
        let hidden = HashMap::from([("b.example".to_owned(), "B".to_owned())]);
        let names = BootstrapDns::new("all", hidden);
        let answers = [None, Some("a.example"), Some("b.example")]
            .map(|asked| names.answer(asked).to_string());
        assert_eq!(answers, ["all", "all", "B"]);
    }
}
