-- An application's table, with rows whose event is 1 KiB.
CREATE TABLE orders (
  id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  customer text NOT NULL,
  status text NOT NULL,
  note text NOT NULL,
  placed_at timestamptz NOT NULL DEFAULT now()
);
