-- What there is before each case.
SET pg_webhook.allow_http = off;
CREATE TABLE orders (id int PRIMARY KEY, note text);
CREATE TABLE "odd name" (id int);
CREATE TEMP TABLE passing (id int);
CREATE VIEW seen AS SELECT * FROM orders;
CREATE FUNCTION body(jsonb) RETURNS jsonb LANGUAGE sql AS 'SELECT $1';
CREATE FUNCTION words(jsonb) RETURNS text LANGUAGE sql AS 'SELECT $1::text';
CREATE FUNCTION many(jsonb) RETURNS SETOF jsonb LANGUAGE sql AS 'SELECT $1';
CREATE FUNCTION of_text(text) RETURNS void LANGUAGE sql AS '';
CREATE PROCEDURE act(jsonb) LANGUAGE sql AS '';
INSERT INTO webhook.signature_scheme (name, key_encoding, content, headers)
  VALUES ('mine', 'raw', '{body}', '{"X-Signature": "{signatures}"}'), ('base64', 'base64', '{body}', '{"X": "{signatures}"}');
SELECT webhook_endpoint_create('https://example.com/'), webhook_endpoint_create('https://example.com/', scheme => 'mine');
SELECT webhook_attach('orders');
SELECT webhook_emit('order.paid', '{}', idempotency_key => 'once');

-- Everything there is in tables of webhook, and how many triggers.
CREATE FUNCTION state() RETURNS text LANGUAGE plpgsql AS $$
DECLARE
  relation regclass;
  content text;
  everything text := (SELECT count(*) FROM pg_trigger);
BEGIN
  FOR relation IN SELECT c.oid FROM pg_class c WHERE c.relnamespace = 'webhook'::regnamespace AND c.relkind = 'r' ORDER BY c.relname LOOP
    EXECUTE format('SELECT string_agg(t::text, chr(10) ORDER BY t::text) FROM %s t', relation) INTO content;
    everything := concat_ws(chr(10), everything, relation, content);
  END LOOP;
  RETURN everything;
END$$;
