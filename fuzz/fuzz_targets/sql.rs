//! SQL92 expressions: any text is parsed or refused, any properties are answered, and a filter that is
//! parsed twice answers the same.
#![no_main]

use callboard::filter::SqlFilter;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: (&str, &[u8])| {
    let (expression, properties) = data;
    if let Ok(filter) = SqlFilter::parse(expression) {
        let truth = filter.evaluate(properties);
        let again = SqlFilter::parse(expression).expect("it was parsed before");
        assert_eq!(again.evaluate(properties), truth);
        // What the expression does not name has no say.
        let mut more = properties.to_vec();
        more.extend_from_slice(b"\x02no name\x01value\x02");
        assert_eq!(filter.evaluate(&more), truth);
    }
});
