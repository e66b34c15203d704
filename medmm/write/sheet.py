"""Sheets of A4 for people: fonts, glyphs that a font lacks, bars and scales, and a footer that counts the pages."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import cast

import matplotlib
from fpdf import FPDF
from fpdf.enums import MethodReturnValue, XPos, YPos
from fpdf.fonts import TTFFont

from medmm.result import Call
from medmm.write.paint import COOL, WARM
from medmm.write.words import printable

MARGIN = 15.0
"""Millimetres, as every length here."""
WIDTH = 210 - 2 * MARGIN
_INK, _GREY, _RULE, _TRACK, _LANE, _PAPER = 0, 95, 190, 228, 243, 255
"""Levels of grey: text, lesser text, thin lines, the empty part of a scale and of a bar, paper."""
_LINE = 4.2
"""Height of a line of running text."""
_FOOT = 14.0
"""Height of the footer, the lower margin in it."""
_FONT = "DejaVu"
_ABSENT = "□"


class Sheet(FPDF):
    """A document in black on white, in DejaVu Sans, whose bytes depend on nothing but what is drawn and `at`.

    A character that the font does not have (most of Chinese, Japanese and Korean) is drawn as an empty square, so that
    a reader sees that something is missing.
    """

    def __init__(self, title: str, foot: str, at: datetime) -> None:
        """Open the first page.

        Args:
            title: of the document's metadata; nothing that names a patient.
            foot: what stands at the foot of every page, left of its number.
            at: the creation date; with a time zone.
        """
        super().__init__(format="A4")
        fonts = Path(matplotlib.get_data_path()) / "fonts" / "ttf"
        self.add_font(_FONT, "", fonts / "DejaVuSans.ttf")
        self.add_font(_FONT, "B", fonts / "DejaVuSans-Bold.ttf")
        plain, bold = (cast("TTFFont", font) for font in self.fonts.values())
        self._known = frozenset(plain.cmap) & frozenset(bold.cmap)
        self._foot = foot
        self.set_margins(MARGIN, MARGIN)
        self.set_auto_page_break(True, _FOOT + 3)
        self.c_margin = 0
        self.set_creation_date(at)
        self.set_title(printable(title))
        self.set_creator("medmm")
        self.set_lang("en")
        self.add_page()

    def footer(self) -> None:
        """What stands at the foot of every page."""
        self.set_y(-_FOOT)
        self.rule()
        self.set_y(-_FOOT + 2)
        self.style(7.5, quiet=True)
        self.cell(WIDTH - 25, 4, self.shown(self._foot))
        wider = self.get_string_width("{nb}") - self.get_string_width("1")  # the number takes its place in the end
        self.cell(25 + wider, 4, f"Page {self.page_no()}/{{nb}}", align="R")

    def shown(self, text: str) -> str:
        """The text with an empty square for every character that the font does not have."""
        return "".join(one if ord(one) in self._known or one == "\n" else _ABSENT for one in printable(text))

    def style(self, size: float, *, bold: bool = False, quiet: bool = False) -> None:
        """Choose how the next text looks; `size` in points, what is quiet is grey."""
        self.set_font(_FONT, "B" if bold else "", size)
        self.set_text_color(_GREY if quiet else _INK)

    def rule(self) -> None:
        """A thin line across the page, where the pen is."""
        y = self.y
        self.set_draw_color(_RULE)
        self.set_line_width(0.2)
        self.line(MARGIN, y, MARGIN + WIDTH, y)

    def heading(self, text: str) -> None:
        """A heading, which does not stand alone at the end of a page."""
        self.keep_together(18)
        self.ln(3)
        self.style(9.5, bold=True)
        self.cell(WIDTH, 5.5, self.shown(text), new_x=XPos.LMARGIN, new_y=YPos.NEXT)

    def keep_together(self, height: float) -> None:
        """Turn the page unless it has room for this height."""
        if self.will_page_break(height):
            self.add_page()

    def lines(self, text: str, width: float) -> list[str]:
        """How the text breaks into lines of this width."""
        broken = self.multi_cell(width, 1, self.shown(text), align="L", dry_run=True, output=MethodReturnValue.LINES)
        return cast("list[str]", broken)

    def block(self, text: str, width: float = WIDTH, line: float = _LINE, most: int = 0) -> None:
        """Text that wraps, from where the pen is; the pen then stands below it, where it began across.

        Args:
            text: anything; a word that is too long for the line is broken.
            width: of the block.
            line: height of a line.
            most: lines at most, the last one then ends in an ellipsis; 0 for any number.
        """
        left, shown = self.x, self.shown(text)
        lines = self.lines(text, width)
        if len(lines) > most > 0:
            last = lines[most - 1].rstrip()
            while self.get_string_width(f"{last}…") > width:
                last = last[:-1]
            shown = "\n".join([*lines[: most - 1], f"{last}…"])
        self.multi_cell(width, line, shown, align="L", new_x=XPos.LMARGIN, new_y=YPos.NEXT)
        self.x = left

    def facts(self, pairs: Sequence[tuple[str, str]]) -> None:
        """Names and values, two pairs a line."""
        half, name = WIDTH / 2, 24.0
        for place in range(0, len(pairs), 2):
            top = bottom = self.y
            for column, (title, value) in enumerate(pairs[place : place + 2]):
                self.set_xy(MARGIN + column * half, top)
                self.style(8.5, quiet=True)
                self.cell(name, 4.6, self.shown(title))
                self.style(8.5)
                self.block(value, half - name - 3, 4.6, most=3)
                bottom = max(bottom, self.y)
            self.set_xy(MARGIN, bottom)

    def entry(self, title: str, text: str) -> None:
        """A name in grey and beside it what is said of it, on one page if one page holds it."""
        name = 30.0
        self.style(8.5, quiet=True)
        self.keep_together(min(_LINE * (len(self.lines(text, WIDTH - name)) + 1), 200))
        top, page = self.y, self.page
        self.block(title, name - 2, most=2)
        under = self.y
        self.set_xy(MARGIN + name, top)
        self.style(8.5)
        self.block(text, WIDTH - name)
        self.set_xy(MARGIN, max(under, self.y) if self.page == page else self.y)
        self.ln(0.6)

    def chip(self, call: Call) -> None:
        """The model's word in a box: filled when flagged, dashed when uncertain."""
        x, y, width, height = self.x, self.y, 23.0, 5.2
        filled = call == "flagged"
        self.set_fill_color(_INK)
        self.set_draw_color(_INK if filled else _GREY)
        self.set_line_width(0.25)
        if call == "uncertain":
            self.set_dash_pattern(0.9, 0.7)
        self.rect(x, y, width, height, style="DF" if filled else "D", round_corners=True, corner_radius=1.2)
        self.set_dash_pattern()
        self.style(8, bold=call != "not flagged")
        self.set_text_color(_PAPER if filled else _INK)
        self.cell(width, height, call.capitalize(), align="C")

    def scale(self, width: float, share: float, mark: float, caption: str) -> None:
        """A bar from 0 to 1, filled up to `share`, with a mark and its caption; as high as two lines of text."""
        x, y, height = self.x, self.y, 2.4
        self.set_fill_color(_TRACK)
        self.rect(x, y, width, height, style="F")
        self.set_fill_color(_GREY)
        self.rect(x, y, width * share, height, style="F")
        self.set_draw_color(_INK)
        self.set_line_width(0.45)
        self.line(x + width * mark, y - 1.1, x + width * mark, y + height + 1.1)
        self.style(7, quiet=True)
        long = self.get_string_width(caption)
        self.set_xy(x + min(max(width * mark - long / 2, 0), width - long), y + height + 1.5)
        self.cell(long, 3, caption)

    def bar(self, width: float, share: float, *, filled: bool) -> None:
        """A signed share in [-1, 1] from a common zero: to the right in orange, to the left in blue."""
        x, y, height = self.x, self.y, 2.6
        middle, long = x + width / 2, width / 2 * max(-1.0, min(1.0, share))
        self.set_fill_color(_LANE)
        self.rect(x, y, width, height, style="F")
        colour = WARM if share > 0 else COOL
        self.set_fill_color(*colour)
        self.set_draw_color(*colour)
        self.set_line_width(0.3)
        left = min(middle, middle + long)
        if long:
            self.rect(left, y + 0.3, abs(long), height - 0.6, style="DF" if filled else "D")
        self.set_draw_color(_INK)
        self.set_line_width(0.2)
        self.line(middle, y - 0.3, middle, y + height + 0.3)
