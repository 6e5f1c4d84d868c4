-- What the log holds is never changed: the triggers of its tables call this.
CREATE FUNCTION __schema__.refuse_change() RETURNS trigger
LANGUAGE plpgsql
AS $body$
BEGIN
    RAISE EXCEPTION USING ERRCODE = 'ES003',
        MESSAGE = TG_TABLE_NAME || ': append-only, ' || TG_OP || ' is refused';
END
$body$
