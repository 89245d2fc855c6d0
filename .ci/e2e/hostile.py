"""Which checks hold which rows of testdata/hostile.md. Its last column is made of these marks."""


def hostile(*rows):
    """Marks a check that holds these rows."""
    def mark(check):
        check.rows = rows
        return check
    return mark


def label(check):
    """A check's name, with the rows that it holds."""
    rows = getattr(check, "rows", ())
    return check.__name__ + (f" [row{'s' * (len(rows) > 1)} {', '.join(map(str, rows))}]" if rows else "")
