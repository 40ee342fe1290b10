-- Who this Slipway is to others in the same AWS account: its things carry the id in a tag. Written at the first start.

CREATE TABLE installation (
    id  TEXT PRIMARY KEY,
    one BIGINT NOT NULL UNIQUE CHECK (one = 1)
);
