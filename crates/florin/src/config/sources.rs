//! Where values come from: defaults, the file, the environment, flags; later ones win.

use std::{
    collections::BTreeMap,
    ffi::OsString,
    fmt, fs,
    path::{Path, PathBuf},
};

use super::{
    ConfigError,
    nearest::nearest,
    options::{self, OPTIONS, Secrecy, Spec},
};

/// Variables that are ours but no options.
const OTHER_VARIABLES: [&str; 3] = ["FLORIN_CONFIG", "FLORIN_SUPERUSER_PASSWORD", "FLORIN_SUPERUSER_PASSWORD_FILE"];

/// The file that is read from the current folder when none is named.
const DEFAULT_FILE: &str = "florin.toml";

/// Where a value was given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// Nowhere.
    Default,
    /// In the configuration file.
    File(PathBuf),
    /// In an environment variable.
    Variable(String),
    /// In the file that an environment variable names.
    VariableFile(String, PathBuf),
    /// By a flag.
    Flag(String),
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File(path) => write!(f, "{}", path.display()),
            Self::Variable(name) => f.write_str(name),
            Self::VariableFile(name, path) => write!(f, "{name} ({})", path.display()),
            Self::Flag(name) => write!(f, "--{name}"),
        }
    }
}

/// A value as written, and where.
#[derive(Clone, PartialEq, Eq)]
pub struct Given {
    /// As written; lists are joined by commas.
    pub text: String,
    /// Where.
    pub source: Source,
}

/// One value for each option.
pub struct Values(BTreeMap<&'static str, Given>);

impl Values {
    /// Reads every source.
    ///
    /// # Errors
    /// An unknown key or variable, a file that cannot be read.
    pub fn gather(
        file: Option<&Path>,
        variables: impl IntoIterator<Item = (OsString, OsString)>,
        flags: &[(&'static str, String)],
    ) -> Result<Self, ConfigError> {
        let default = |spec: &Spec| Given { text: spec.default.to_owned(), source: Source::Default };
        let mut values: BTreeMap<_, _> = OPTIONS.iter().map(|spec| (spec.name, default(spec))).collect();
        values.extend(from_file(file)?);
        values.extend(from_variables(variables)?);
        for (name, text) in flags {
            let source = Source::Flag(name.replace('_', "-"));
            values.insert(name, Given { text: text.clone(), source });
        }
        Ok(Self(values))
    }

    /// The value of an option.
    ///
    /// # Errors
    /// There is no such option: a defect.
    pub fn get(&self, name: &str) -> Result<&Given, ConfigError> {
        self.0.get(name).ok_or_else(|| ConfigError(format!("{name} is not in the table of options")))
    }

    /// The value of an option in its type.
    ///
    /// # Errors
    /// `parse` does not accept it: names the option, the value unless it is secret, the source and what is accepted.
    pub fn parse<T>(&self, name: &'static str, parse: impl FnOnce(&str) -> Option<T>) -> Result<T, ConfigError> {
        let given = self.get(name)?;
        parse(&given.text).ok_or_else(|| {
            let spec = options::find(name);
            let accepts = spec.map_or("", |spec| spec.accepts);
            let shown = match spec.map(|spec| shown(spec, &given.text)) {
                Some(text) if !text.is_empty() => format!("`{text}`"),
                _ => "an empty value".to_owned(),
            };
            ConfigError(format!("{name}: {shown} (from {}) is not accepted; write {accepts}", given.source))
        })
    }
}

/// As much of a value as may be shown.
pub fn shown(spec: &Spec, text: &str) -> String {
    match spec.secrecy {
        Secrecy::Open => text.to_owned(),
        Secrecy::Secret if text.is_empty() => String::new(),
        Secrecy::Secret => "********".to_owned(),
        Secrecy::Url => without_password(text),
    }
}

/// A URL without what may be secret in it: the password, and every parameter that speaks of one.
pub fn without_password(url: &str) -> String {
    let (base, query) = url.split_once('?').map_or((url, None), |(base, query)| (base, Some(query)));
    let (scheme, rest) = base.split_once("://").unwrap_or(("", base));
    let masked = match rest.rsplit_once('@') {
        Some((user, host)) => format!("{}:********@{host}", user.split(':').next().unwrap_or_default()),
        None => rest.to_owned(),
    };
    let mut text = if scheme.is_empty() { masked } else { format!("{scheme}://{masked}") };
    if let Some(query) = query {
        text.push('?');
        let parameters = query.split('&').map(|parameter| match parameter.split_once('=') {
            Some((name, _)) if name.contains("pass") => format!("{name}=********"),
            _ => parameter.to_owned(),
        });
        text.push_str(&parameters.collect::<Vec<_>>().join("&"));
    }
    text
}

fn from_file(named: Option<&Path>) -> Result<Vec<(&'static str, Given)>, ConfigError> {
    let path = named.unwrap_or(Path::new(DEFAULT_FILE));
    let text = match fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if named.is_none() && error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(ConfigError(format!("cannot read {}: {error}", path.display()))),
    };
    from_toml(path, &text)
}

fn from_toml(path: &Path, text: &str) -> Result<Vec<(&'static str, Given)>, ConfigError> {
    let place = path.display();
    // Only the message and the line: the line's text may hold a secret.
    let table: toml::Table = text.parse().map_err(|error: toml::de::Error| {
        let line = error.span().and_then(|span| text.get(..span.start)).map_or(1, |head| head.lines().count().max(1));
        ConfigError(format!("{place}, line {line}: {}", error.message().replace('\n', " ")))
    })?;
    table
        .iter()
        .map(|(key, value)| {
            let spec = options::find(key).ok_or_else(|| unknown(&format!("{place}: unknown key `{key}`"), key, ""))?;
            let text = toml_text(value)
                .ok_or_else(|| ConfigError(format!("{place}: {key} is not accepted; write {}", spec.accepts)))?;
            Ok((spec.name, Given { text, source: Source::File(path.to_owned()) }))
        })
        .collect()
}

fn toml_text(value: &toml::Value) -> Option<String> {
    match value {
        toml::Value::String(text) => Some(text.clone()),
        toml::Value::Integer(number) => Some(number.to_string()),
        toml::Value::Boolean(switch) => Some(switch.to_string()),
        toml::Value::Array(parts) => {
            let parts = parts.iter().map(|part| part.as_str()).collect::<Option<Vec<_>>>()?;
            Some(parts.join(","))
        }
        toml::Value::Float(_) | toml::Value::Datetime(_) | toml::Value::Table(_) => None,
    }
}

fn from_variables(
    variables: impl IntoIterator<Item = (OsString, OsString)>,
) -> Result<Vec<(&'static str, Given)>, ConfigError> {
    let mut values: Vec<(&'static str, Given)> = Vec::new();
    for (name, value) in variables {
        let name = name.to_string_lossy().into_owned();
        let is_ours = name.starts_with("FLORIN_") && !name.starts_with("FLORIN_TEST_");
        if !is_ours || OTHER_VARIABLES.contains(&name.as_str()) {
            continue;
        }
        let (spec, is_file) = find_variable(&name)?;
        let value = value.into_string().map_err(|_| ConfigError(format!("{name} is not UTF-8")))?;
        // Compose files and unit files cannot unset a variable, only empty it.
        if value.is_empty() {
            continue;
        }
        let given = if is_file {
            let text = read_secret_file(&name, Path::new(&value))?;
            Given { text, source: Source::VariableFile(name, PathBuf::from(value)) }
        } else {
            Given { text: value, source: Source::Variable(name) }
        };
        if let Some((_, other)) = values.iter().find(|(known, _)| *known == spec.name) {
            return Err(ConfigError(format!(
                "{} is given twice: by {} and by {}",
                spec.name, other.source, given.source
            )));
        }
        values.push((spec.name, given));
    }
    Ok(values)
}

fn find_variable(name: &str) -> Result<(&'static Spec, bool), ConfigError> {
    let by_value = OPTIONS.iter().find(|spec| spec.variable() == name).map(|spec| (spec, false));
    let by_file = || OPTIONS.iter().find(|spec| spec.file_variable().as_deref() == Some(name)).map(|spec| (spec, true));
    by_value.or_else(by_file).ok_or_else(|| {
        let key = name.trim_start_matches("FLORIN_").to_ascii_lowercase();
        unknown(&format!("unknown environment variable {name}"), &key, "FLORIN_")
    })
}

/// The text of a file that holds one secret, without the line's end.
///
/// # Errors
/// It cannot be read; names the variable and the path.
pub fn read_secret_file(variable: &str, path: &Path) -> Result<String, ConfigError> {
    let text = fs::read_to_string(path)
        .map_err(|error| ConfigError(format!("{variable}: cannot read {}: {error}", path.display())))?;
    Ok(text.trim_end_matches(['\r', '\n']).to_owned())
}

fn unknown(message: &str, key: &str, prefix: &str) -> ConfigError {
    let hint = match nearest(key, OPTIONS.iter().map(|spec| spec.name)) {
        Some(name) if prefix.is_empty() => format!("did you mean `{name}`?"),
        Some(name) => format!("did you mean {prefix}{}?", name.to_ascii_uppercase()),
        None => "`florin config` lists them all".to_owned(),
    };
    ConfigError(format!("{message}; {hint}"))
}
