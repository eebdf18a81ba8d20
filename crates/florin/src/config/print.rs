//! What `florin config` shows: every option with its value and source, or the page of the documentation.

use std::fmt::Write as _;

use super::{
    ConfigError, Values,
    options::{OPTIONS, Secrecy, Spec},
    sources::{Source, shown},
};

/// One line an option: name, value, source. Secrets are masked.
///
/// # Errors
/// An option is missing from `values`: a defect.
pub fn printout(values: &Values) -> Result<String, ConfigError> {
    let name_width = OPTIONS.iter().map(|spec| spec.name.len()).max().unwrap_or_default();
    let mut lines = Vec::new();
    for spec in OPTIONS {
        let given = values.get(spec.name)?;
        let value = match shown(spec, &given.text) {
            text if text.is_empty() => "(not set)".to_owned(),
            text => text,
        };
        lines.push((spec.name, value, given.source.clone()));
    }
    // One very long value must not push every source off the screen.
    let value_width = lines.iter().map(|(_, value, _)| value.len()).max().unwrap_or_default().min(48);
    let mut text = String::new();
    for (name, value, source) in lines {
        let mark = if source == Source::Default { ' ' } else { '*' };
        let _ = writeln!(text, "{mark} {name:name_width$}  {value:value_width$}  {source}");
    }
    Ok(text)
}

/// The page `docs/configuration.md`.
pub fn markdown() -> String {
    let mut text = String::from(INTRODUCTION);
    let mut section = "";
    for spec in OPTIONS {
        if spec.section != section {
            section = spec.section;
            let _ = write!(text, "\n## {section}\n\n");
            text.push_str("| Option | Environment | Flag | Default | Meaning |\n|---|---|---|---|---|\n");
        }
        let _ = writeln!(
            text,
            "| `{}` | {} | {} | {} | {} |",
            spec.name,
            variables(spec),
            spec.flag().map_or_else(|| "none: secret".to_owned(), |flag| format!("`--{flag}`")),
            if spec.default.is_empty() { "not set".to_owned() } else { format!("`{}`", spec.default) },
            meaning(spec)
        );
    }
    text
}

const INTRODUCTION: &str = "\
# Configuration

<!-- Written by `florin config --markdown`. Change `crates/florin/src/config/options.rs` instead. -->

Florin runs without any configuration. Values come from, later ones winning:

1. the defaults below,
2. the file `florin.toml` in the current folder, or the one named by `--config` or `FLORIN_CONFIG`,
3. environment variables `FLORIN_…`; an empty one counts as not set,
4. flags.

Lists are TOML arrays in the file and comma-separated elsewhere. An unknown key, an unknown `FLORIN_…` variable or a
value that is not accepted ends the program with exit code 2 and one line that names it. `florin config` prints every
value with its source. `FLORIN_TEST_…` variables belong to the test suite and are ignored.

```toml
# florin.toml
listen = \"127.0.0.1:8000\"
database_url = \"postgres://florin@localhost/florin\"
custom_assets = [\"POINTS:0\"]
```
";

fn variables(spec: &Spec) -> String {
    let value = format!("`{}`", spec.variable());
    spec.file_variable().map_or_else(|| value.clone(), |file| format!("{value}, `{file}`"))
}

fn meaning(spec: &Spec) -> String {
    let secret = match spec.secrecy {
        Secrecy::Open => "",
        Secrecy::Url => " A password in it is never shown.",
        Secrecy::Secret => " Never shown.",
    };
    let doc = spec.doc.replace('<', "&lt;").replace('>', "&gt;");
    let accepts = spec.accepts.replace('<', "&lt;").replace('>', "&gt;");
    format!("{doc}{secret} Accepts {accepts}.")
}
