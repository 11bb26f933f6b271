//! HTML from templates and from texts that anybody may have written. Pure.

pub(in crate::edge::http) use crate::edge::html::escape;

/// Puts values in the places of a template that are called `{{name}}`. What is put in is not looked at again, whatever it says.
pub(in crate::edge::http) fn fill(template: &str, values: &[(&str, &str)]) -> String {
    let mut filled = String::with_capacity(template.len() * 2);
    let mut rest = template;
    while let Some((before, from)) = rest.split_once("{{") {
        filled += before;
        let place = from.split_once("}}");
        let found = place.and_then(|(name, after)| {
            let value = values.iter().find(|(known, _)| *known == name)?.1;
            Some((value, after))
        });
        match found {
            Some((value, after)) => {
                filled += value;
                rest = after;
            }
            None => {
                filled += "{{";
                rest = from;
            }
        }
    }
    filled + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_put_into_a_template_is_not_read_as_one() {
        let values = [("a", "<{{b}}>"), ("b", "{{a}}")];
        assert_eq!(fill("{{a}} {{b}} {{c}} {{?dns} {{", &values), "<{{b}}> {{a}} {{c}} {{?dns} {{");
        assert_eq!(fill("", &values), "");
    }
}
