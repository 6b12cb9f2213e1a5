-- Whose database this is: two installations may not write to one file. `repairs` is used where several nodes share a database.
CREATE TABLE installation (
    only_row INTEGER NOT NULL PRIMARY KEY,
    id       TEXT    NOT NULL,
    repairs  INTEGER NOT NULL
);
INSERT INTO installation (only_row, id, repairs) VALUES (1, '', 0);
