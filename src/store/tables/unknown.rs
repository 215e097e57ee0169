//! What a file holds that our types do not know.

use std::collections::BTreeMap;

use crate::protocol::fastjson::{JsonError, Value, to_string};

/// Properties of an object that were dropped when it was read, here or further down.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Unknown(Vec<(String, Place)>);

#[derive(Debug, Clone, PartialEq)]
enum Place {
    /// The whole property is not known.
    Here(Value, Value),
    /// Something inside of it is not.
    Inside(Unknown),
}

impl Unknown {
    /// What `read` has and `known`, written again from our types, does not.
    pub(super) fn find(read: &Value, known: &Value) -> Result<Self, JsonError> {
        let mut unknown = Self::default();
        let (Value::Object(read), Value::Object(known)) = (read, known) else {
            return Ok(unknown);
        };
        let known = by_key(known)?;
        for (key, value) in read {
            let text = to_string(key)?;
            match known.get(&text) {
                Some(known) => {
                    let inside = Self::find(value, known)?;
                    if !inside.is_empty() {
                        unknown.0.push((text, Place::Inside(inside)));
                    }
                }
                None if *value != Value::Null => {
                    let place = Place::Here(key.clone(), value.clone());
                    unknown.0.push((text, place));
                }
                None => {}
            }
        }
        Ok(unknown)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Puts it back where the object around it still is; what found its place is returned.
    pub(super) fn put_back(&self, value: &mut Value) -> Result<Self, JsonError> {
        let mut left = Self::default();
        let Value::Object(entries) = value else {
            return Ok(left);
        };
        let mut positions = BTreeMap::new();
        for (i, (key, _)) in entries.iter().enumerate() {
            positions.insert(to_string(key)?, i);
        }
        let mut added = Vec::new();
        for (text, place) in &self.0 {
            match (place, positions.get(text).and_then(|i| entries.get_mut(*i))) {
                (Place::Inside(unknown), Some((_, inner))) => {
                    let inside = unknown.put_back(inner)?;
                    if !inside.is_empty() {
                        left.0.push((text.clone(), Place::Inside(inside)));
                    }
                }
                (place @ Place::Here(key, unknown), None) => {
                    left.0.push((text.clone(), place.clone()));
                    added.push((text, (key.clone(), unknown.clone())));
                }
                _ => {}
            }
        }
        for (text, entry) in added {
            // Properties are in alphabetic order.
            let at = entries
                .iter()
                .position(|(key, _)| to_string(key).is_ok_and(|key| key > *text))
                .unwrap_or(entries.len());
            entries.insert(at, entry);
        }
        Ok(left)
    }
}

fn by_key(entries: &[(Value, Value)]) -> Result<BTreeMap<String, &Value>, JsonError> {
    let key = |(key, value)| Ok((to_string(key)?, value));
    entries.iter().map(|(k, v)| key((k, v))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::fastjson::from_str;

    #[test]
    fn unknown_properties_come_back_where_they_were() {
        let read: Value =
            from_str(r#"{"a":1,"new":[1],"t":{1:{"x":1,"y":2},2:{"x":1,"z":3}},"no":null}"#)
                .unwrap();
        let known: Value = from_str(r#"{"a":1,"t":{1:{"x":1},2:{"x":1}}}"#).unwrap();
        let unknown = Unknown::find(&read, &known).unwrap();
        assert!(!unknown.is_empty());
        let mut later: Value = from_str(r#"{"a":2,"t":{2:{"x":7},3:{"x":8}}}"#).unwrap();
        let left = unknown.put_back(&mut later).unwrap();
        let text = to_string(&later).unwrap();
        assert_eq!(text, r#"{"a":2,"new":[1],"t":{2:{"x":7,"z":3},3:{"x":8}}}"#);
        let mut again: Value = from_str(r#"{"a":2,"t":{1:{"x":9},2:{"x":7}}}"#).unwrap();
        left.put_back(&mut again).unwrap();
        let text = to_string(&again).unwrap();
        assert_eq!(text, r#"{"a":2,"new":[1],"t":{1:{"x":9},2:{"x":7,"z":3}}}"#);
        assert!(Unknown::find(&known, &known).unwrap().is_empty());
    }
}
