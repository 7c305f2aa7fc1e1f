//! jsonb goes out as PostgreSQL writes it, character by character: what is emitted, and what stands in a captured row.

use harness::Database;

/// Rows that have a jsonb `data` each.
const VALUES: [&str; 6] = [
    // Characters that are escaped, and their neighbours; in keys as well.
    "SELECT jsonb_build_object(chr(i), 'a' || chr(i) || chr(i) || 'b', 'ends with', chr(i)) AS data FROM generate_series(1, 160) i",
    "SELECT to_jsonb(text) AS data FROM (VALUES (''), ('\"'), ('\\'), ('é€😀'), (E'\\u2028'), ('</script>'), (repeat('x\"', 500))) v (text)",
    "SELECT to_jsonb(number::numeric) AS data FROM (VALUES ('0'), ('-0.0'), ('1.500'), ('1e2'), ('1e-20'), ('-12345678901234567890.5'), ('1e400')) v (number)",
    "SELECT data::jsonb AS data FROM (VALUES ('null'), ('true'), ('false'), ('[]'), ('{}'), ('[[]]'), ('[{}, []]'), ('[[1], [2, [3]]]'), ('{\"\": {}}'), \
       ('{\"a\": [], \"b\": {\"c\": [{}, null, {\"d\": false}]}, \"e\": 1}'), ('[1, \"2\", null, {\"a\": [true]}, [], 3]')) v (data)",
    "SELECT to_jsonb(p) AS data FROM pg_proc p WHERE prolang <> 12 LIMIT 100",
    // Stored elsewhere, and compressed.
    "SELECT jsonb_agg(to_jsonb(c)) AS data FROM pg_class c",
];

#[tokio::test]
async fn jsonb_goes_out_as_postgresql_writes_it() {
    let database = Database::new().await;
    database.run("CREATE TABLE kept (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, data jsonb)").await;
    database.run("SELECT webhook_attach('kept')").await;
    for values in VALUES {
        database.run(&format!("INSERT INTO kept (data) {values}")).await;
    }
    database.run("SELECT count(webhook_emit('test.emitted', data, key => id::text)) FROM kept").await;
    for (event_type, sent) in
        [("kept.created", "e.body::json #> '{data,data}'"), ("test.emitted", "e.body::json -> 'data'")]
    {
        let compared = format!(
            "SELECT k.data::text, ({sent})::text FROM kept k LEFT JOIN webhook.event e \
             ON e.type = '{event_type}' AND e.key IN (k.id::text, 'public.kept:' || k.id)"
        );
        let all = database.number(&format!("SELECT count(*) FROM ({compared}) c")).await;
        assert!(all > 250, "{all}");
        let other = database
            .rows(&format!("SELECT * FROM ({compared}) c (kept, sent) WHERE kept IS DISTINCT FROM sent"))
            .await;
        assert_eq!(other, Vec::<String>::new(), "{event_type}");
    }
}
