//! From a YAML value to the one form in which [`Config`](super::Config) takes it.
//!
//! People write a count as `168`, `1e6`, `514_983_574` or `168.0`, a switch as `True` or `off`, a
//! size as `4MiB`. Each [`Kind`] accepts its forms here and yields the plain value of its field, so
//! that the typed structs need no parsing of their own.

use super::catalogue::closest;
use super::kind::{COUNT_MAX, Field, Kind};
use super::units::{parse_bytes, parse_mean_bytes, without_underscores};
use serde_yaml::{Mapping, Value};

/// Longest part of a value that an error quotes.
const QUOTED_CHARS: usize = 60;

/// Parameters of each distribution.
const DISTRIBUTIONS: [(&str, &[&str]); 6] = [
    ("constant", &["seconds"]),
    ("normal", &["mean", "stdev"]),
    ("uniform", &["min", "max"]),
    ("gamma", &["shape", "scale"]),
    ("exponential", &["scale"]),
    ("poisson", &["lam"]),
];

/// Why a value is not taken.
#[derive(Debug, PartialEq)]
pub(super) struct Problem {
    /// Where inside the value: list items as `[0]`, mapping keys by name.
    pub at: Vec<String>,
    /// What is wrong and what is allowed.
    pub text: String,
}

impl Problem {
    fn new(text: String) -> Problem {
        Problem { at: Vec::new(), text }
    }

    fn inside(mut self, segment: &str) -> Problem {
        self.at.insert(0, segment.to_string());
        self
    }
}

/// A number as it was written.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Written {
    Whole(i128),
    Real(f64),
}

/// Checks `value` against `kind` and brings it into the form of the typed field.
pub(super) fn coerce(kind: &Kind, value: &Value) -> Result<Value, Problem> {
    if value.is_null() && !accepts_null(kind) {
        return Err(Problem::new(format!("no value; give {}", kind.describe())));
    }
    match kind {
        Kind::Optional(_) if is_none(value) => Ok(Value::Null),
        Kind::Optional(inner) => coerce(inner, value),
        Kind::Counts => items(kind, value, |item| coerce(&super::kind::POSITIVE, item)),
        // One text is a list of one, as in the reference.
        Kind::Texts if value.is_string() => {
            items(kind, &vec![value.clone()].into(), |item| coerce(&super::kind::TEXT, item))
        }
        Kind::Texts => items(kind, value, |item| coerce(&super::kind::TEXT, item)),
        Kind::Records(fields) => items(kind, value, |item| record(fields, item)),
        Kind::Distribution => distribution(kind, value),
        Kind::Bytes { min, max, multiple } => {
            let bytes = bytes(kind, value)?;
            let fits = (*min..=*max).contains(&bytes) && bytes.is_multiple_of(*multiple);
            if fits { Ok(bytes.into()) } else { Err(refusal(kind, value)) }
        }
        Kind::MeanBytes { min } => {
            let bytes = mean_bytes(kind, value)?;
            let fits = (*min..=super::kind::COUNT_MAX as f64).contains(&bytes);
            if fits { Ok(bytes.into()) } else { Err(refusal(kind, value)) }
        }
        _ => scalar(kind, value).ok_or_else(|| refusal(kind, value)),
    }
}

/// A value for error messages: scalars quoted and shortened, the rest by its nature.
pub(super) fn quoted(value: &Value) -> String {
    let text = match value {
        Value::Null => return "no value".into(),
        Value::Bool(true) => "True".into(),
        Value::Bool(false) => "False".into(),
        Value::Number(number) => number.to_string(),
        Value::String(text) => text.replace(char::is_control, " "),
        Value::Sequence(_) => return "a list".into(),
        Value::Mapping(_) => return "a mapping".into(),
        Value::Tagged(_) => return "a tagged value".into(),
    };
    if text.chars().count() > QUOTED_CHARS {
        let short: String = text.chars().take(QUOTED_CHARS).collect();
        return format!("`{short}...`");
    }
    format!("`{text}`")
}

fn refusal(kind: &Kind, value: &Value) -> Problem {
    Problem::new(format!("{} is not allowed; give {}", quoted(value), kind.describe()))
}

fn accepts_null(kind: &Kind) -> bool {
    match kind {
        Kind::Optional(_) | Kind::Cap | Kind::Tally | Kind::Any => true,
        Kind::Choice(words) => words.contains(&"null") || words.contains(&"none"),
        _ => false,
    }
}

fn is_none(value: &Value) -> bool {
    value.is_null() || value.as_str().is_some_and(|text| text.eq_ignore_ascii_case("none"))
}

/// Kinds with a single scalar; None: not allowed.
fn scalar(kind: &Kind, value: &Value) -> Option<Value> {
    match *kind {
        Kind::Any => Some(value.clone()),
        Kind::Bool => truth(value).map(Value::from),
        Kind::Count { min, max } => {
            let count = u64::try_from(whole(value)?).ok()?;
            (min..=max).contains(&count).then(|| count.into())
        }
        Kind::Cap if is_none(value) => Some(Value::Null),
        Kind::Cap => match whole(value)? {
            -1 => Some(Value::Null),
            steps => u64::try_from(steps).ok().filter(|&steps| steps > 0).map(Value::from),
        },
        Kind::Tally if is_none(value) => Some(0.into()),
        Kind::Tally => match whole(value)? {
            -1 => Some(0.into()),
            count => u64::try_from(count).ok().filter(|&n| n <= COUNT_MAX).map(Value::from),
        },
        Kind::Number { min, max, above_min } => {
            let number = real(value)?;
            let fits = number <= max && if above_min { number > min } else { number >= min };
            fits.then(|| number.into())
        }
        Kind::Text => text(value).filter(|text| !text.as_str().unwrap_or_default().is_empty()),
        Kind::FreeText => text(value),
        Kind::Choice(words) => choice(words, value),
        _ => None,
    }
}

fn text(value: &Value) -> Option<Value> {
    let clean = value.as_str().is_some_and(|text| !text.contains(char::is_control));
    clean.then(|| value.clone())
}

/// YAML 1.1's booleans, since the reference's reader takes them.
fn truth(value: &Value) -> Option<bool> {
    match value {
        Value::Bool(truth) => Some(*truth),
        Value::String(text) => match text.to_ascii_lowercase().as_str() {
            "true" | "yes" | "on" => Some(true),
            "false" | "no" | "off" => Some(false),
            _ => None,
        },
        _ => None,
    }
}

fn choice(words: &[&str], value: &Value) -> Option<Value> {
    let wanted = match value {
        Value::String(text) => text.to_ascii_lowercase(),
        // The engine `null` and the choice `none` are written without quotes as a matter of course.
        Value::Null if words.contains(&"null") => "null".into(),
        Value::Null => "none".into(),
        _ => String::new(),
    };
    if let Some(word) = words.iter().find(|word| **word == wanted) {
        return Some((*word).into());
    }
    (words.contains(&"off") && truth(value) == Some(false)).then(|| "off".into())
}

fn number(value: &Value) -> Option<Written> {
    match value {
        Value::Number(number) => match (number.as_u64(), number.as_i64(), number.as_f64()) {
            (Some(whole), _, _) => Some(Written::Whole(whole.into())),
            (_, Some(whole), _) => Some(Written::Whole(whole.into())),
            (_, _, Some(real)) => Some(Written::Real(real)),
            _ => None,
        },
        Value::String(text) => written(text.trim()),
        _ => None,
    }
}

/// Numbers that YAML 1.2 takes for text: `514_983_574`, `1_000.5`, quoted ones. A leading zero may
/// mean octal and is refused.
fn written(text: &str) -> Option<Written> {
    let plain = without_underscores(text)?;
    let unsigned = plain.strip_prefix(['-', '+']).unwrap_or(&plain);
    let numeric = |c: char| c.is_ascii_digit() || matches!(c, '.' | 'e' | 'E' | '-' | '+');
    if !unsigned.chars().all(numeric) || unsigned.len() > 1 && octal_looking(unsigned) {
        return None;
    }
    plain.parse().map(Written::Whole).or_else(|_| plain.parse().map(Written::Real)).ok()
}

fn octal_looking(unsigned: &str) -> bool {
    unsigned.starts_with('0') && unsigned.chars().all(|c| c.is_ascii_digit())
}

fn whole(value: &Value) -> Option<i128> {
    match number(value)? {
        Written::Whole(whole) => Some(whole),
        // Beyond 2^63 a float names no particular integer.
        Written::Real(real) if real.fract() == 0.0 && real.abs() < 9.2e18 => Some(real as i128),
        Written::Real(_) => None,
    }
}

fn real(value: &Value) -> Option<f64> {
    let real = match number(value)? {
        Written::Whole(whole) => whole as f64,
        Written::Real(real) => real,
    };
    real.is_finite().then_some(real)
}

fn bytes(kind: &Kind, value: &Value) -> Result<u64, Problem> {
    if let Some(whole) = whole(value) {
        return u64::try_from(whole).map_err(|_| refusal(kind, value));
    }
    match value {
        Value::String(text) => parse_bytes(text).map_err(Problem::new),
        _ => Err(refusal(kind, value)),
    }
}

fn mean_bytes(kind: &Kind, value: &Value) -> Result<f64, Problem> {
    if let Some(real) = real(value) {
        return Ok(real);
    }
    match value {
        Value::String(text) => parse_mean_bytes(text).map_err(Problem::new),
        _ => Err(refusal(kind, value)),
    }
}

fn items(
    kind: &Kind,
    value: &Value,
    item: impl Fn(&Value) -> Result<Value, Problem>,
) -> Result<Value, Problem> {
    let Value::Sequence(list) = value else {
        return Err(refusal(kind, value));
    };
    let each = list.iter().enumerate();
    each.map(|(index, value)| item(value).map_err(|problem| problem.inside(&format!("[{index}]"))))
        .collect::<Result<Vec<_>, _>>()
        .map(Value::Sequence)
}

fn record(fields: &'static [Field], value: &Value) -> Result<Value, Problem> {
    let names = || fields.iter().map(|field| field.name);
    let Value::Mapping(mapping) = value else {
        let list = names().collect::<Vec<_>>().join(", ");
        let text = format!("{} is not allowed; give a mapping with the keys {list}", quoted(value));
        return Err(Problem::new(text));
    };
    let mut out = Mapping::new();
    for (key, value) in mapping {
        let name = key.as_str().unwrap_or_default();
        let Some(field) = fields.iter().find(|field| field.name == name) else {
            return Err(unknown_name(key, names()));
        };
        let value = coerce(&field.kind, value).map_err(|problem| problem.inside(name))?;
        out.insert(name.into(), value);
    }
    let missing = fields.iter().find(|field| field.required && !out.contains_key(field.name));
    if let Some(field) = missing {
        let text = format!("`{}` is missing; give {}", field.name, field.kind.describe());
        return Err(Problem::new(text));
    }
    Ok(Value::Mapping(out))
}

fn unknown_name(key: &Value, names: impl Iterator<Item = &'static str> + Clone) -> Problem {
    let name = key.as_str().map_or_else(|| quoted(key), str::to_string);
    let advice = match closest(&name, names.clone()) {
        Some(likely) => format!("did you mean {likely}?"),
        None => format!("the keys here are {}", names.collect::<Vec<_>>().join(", ")),
    };
    Problem::new(format!("unknown key; {advice}")).inside(&name)
}

/// Yields the tagged form, or a plain number for a constant. A mean without `type` is a constant,
/// with `stdev` a normal distribution, and an empty mapping is no time at all, as in the reference.
fn distribution(kind: &Kind, value: &Value) -> Result<Value, Problem> {
    let Value::Mapping(mapping) = value else {
        return coerce(&super::kind::SECONDS, value).map_err(|_| refusal(kind, value));
    };
    if mapping.is_empty() {
        return Ok(0.0.into());
    }
    let (name, parameters) = match mapping.get("type") {
        Some(named) => {
            let found = DISTRIBUTIONS.iter().find(|(name, _)| Some(*name) == named.as_str());
            *found.ok_or_else(|| unknown_distribution(named))?
        }
        None => DISTRIBUTIONS[1],
    };
    let values = parameters_of(mapping, parameters)?;
    match (mapping.contains_key("type"), name, values.as_slice()) {
        (_, "constant", [Some(seconds)]) => Ok((*seconds).into()),
        (false, _, [Some(mean), None | Some(0.0)]) => Ok((*mean).into()),
        (_, "uniform", [Some(min), Some(max)]) if min > max => {
            Err(Problem::new(format!("min {min} is above max {max}; swap them")))
        }
        _ => tagged(name, parameters, &values),
    }
}

fn unknown_distribution(named: &Value) -> Problem {
    let names = DISTRIBUTIONS.map(|(name, _)| name).join(", ");
    let text = format!("{} is not allowed; give one of {names}", quoted(named));
    Problem::new(text).inside("type")
}

/// The values of `parameters`, in order; every other key but `type` is refused.
fn parameters_of(
    mapping: &Mapping,
    parameters: &'static [&'static str],
) -> Result<Vec<Option<f64>>, Problem> {
    for key in mapping.keys() {
        let known = key.as_str().is_some_and(|key| key == "type" || parameters.contains(&key));
        if !known {
            let names = std::iter::once("type").chain(parameters.iter().copied());
            return Err(unknown_name(key, names));
        }
    }
    let value = |name: &&str| match mapping.get(*name) {
        None => Ok(None),
        Some(value) => coerce(&super::kind::SECONDS, value)
            .map(|number| number.as_f64())
            .map_err(|problem| problem.inside(name)),
    };
    parameters.iter().map(value).collect()
}

fn tagged(name: &str, parameters: &[&str], values: &[Option<f64>]) -> Result<Value, Problem> {
    let mut out = Mapping::new();
    out.insert("type".into(), name.into());
    for (parameter, value) in parameters.iter().zip(values) {
        let Some(value) = value else {
            return Err(Problem::new(format!(
                "`{parameter}` is missing; a {name} distribution needs {}",
                parameters.join(" and ")
            )));
        };
        out.insert((*parameter).into(), (*value).into());
    }
    Ok(Value::Mapping(out))
}
