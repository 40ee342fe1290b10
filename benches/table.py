"""What a benchmark found: rows of one Markdown table, each held against its target."""

import dataclasses

HEADINGS = ["", "measured", "against", "ratio", "target", ""]


@dataclasses.dataclass
class Row:
    """One figure. A target is a bound on the ratio if there is one, else on the figure itself."""

    name: str
    figure: float
    unit: str = ""
    against: float | None = None
    at_most: float | None = None
    at_least: float | None = None

    @property
    def ratio(self):
        return self.figure / self.against if self.against else None

    @property
    def outcome(self):
        judged = self.figure if self.ratio is None else self.ratio
        if self.at_most is None and self.at_least is None:
            return ""
        short = (self.at_most is not None and judged > self.at_most) or (
            self.at_least is not None and judged < self.at_least
        )
        return "short" if short else "reached"

    def cells(self):
        bounds = [f"≤ {self.at_most:g}"] if self.at_most is not None else []
        bounds += [f"≥ {self.at_least:g}"] if self.at_least is not None else []
        return [
            self.name,
            written(self.figure, self.unit),
            "" if self.against is None else written(self.against, self.unit),
            "" if self.ratio is None else f"{self.ratio:.2f}",
            ", ".join(bounds),
            self.outcome,
        ]


def written(figure, unit):
    digits = 0 if figure == int(figure) or abs(figure) >= 100 else 1 if abs(figure) >= 10 else 3
    return f"{figure:.{digits}f} {unit}".strip()


def markdown(rows):
    """The rows as an aligned Markdown table."""
    lines = [HEADINGS] + [row.cells() for row in rows]
    widths = [max(len(line[column]) for line in lines) for column in range(len(HEADINGS))]
    lines.insert(1, ["-" * max(width, 3) for width in widths])
    return "\n".join("| " + " | ".join(cell.ljust(width) for cell, width in zip(line, widths)) + " |" for line in lines)
