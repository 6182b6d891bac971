"""The commands of LaTeX tables: their arguments, what of them is printed, and which character each sign is."""

from __future__ import annotations

import re

# {command: (arguments as pylatexenc writes them, those that are printed)}
COMMANDS: dict[str, tuple[str, tuple[int, ...]]] = {
    **dict.fromkeys(
        ("hspace", "vspace", "phantom", "hphantom", "vphantom", "label", "footnote", "tablefootnote"), ("*{", ())
    ),
    **dict.fromkeys(("cellcolor", "rowcolor", "columncolor", "arrayrulecolor", "color", "rowcolors"), ("[{", ())),
    **dict.fromkeys(("ref", "cref", "Cref", "autoref", "eqref", "cline", "hhline", "includegraphics"), ("[{", ())),
    **dict.fromkeys(("setlength", "addtolength", "fontsize", "setcounter"), ("{{", ())),
    **dict.fromkeys(("caption", "captionof"), ("*[{", ())),
    **dict.fromkeys(("makecell", "thead", "shortstack", "num", "ensuremath"), ("*[{", (2,))),
    **dict.fromkeys(("textcolor", "colorbox", "rotatebox"), ("[{{", (2,))),
    **dict.fromkeys(("SI", "qty"), ("[{{", (1,))),
    **dict.fromkeys(("cite", "citep", "citet", "citealp", "citeauthor", "citeyear", "parencite"), ("*[[{", ())),
    **dict.fromkeys(
        ("text", "mbox", "fbox", "emph", "textit", "textsc", "textrm", "textsf", "texttt", "textmd"), ("{", (0,))
    ),
    **dict.fromkeys(
        ("mathrm", "mathit", "mathsf", "mathtt", "mathcal", "mathbb", "operatorname", "textnormal"), ("{", (0,))
    ),
    **dict.fromkeys(
        ("sout", "st", "hl", "adjustbox", "centering", "textup", "uppercase", "MakeUppercase"), ("{", (0,))
    ),
    **dict.fromkeys(
        ("textbf", "mathbf", "bm", "boldsymbol", "pmb", "underline", "uline", "ul", "underbar"), ("{", (0,))
    ),
    **dict.fromkeys(("textsuperscript", "textsubscript", "tnote", "footnotemark"), ("{", (0,))),
    "centering": ("", ()),
    "footnotemark": ("[", (0,)),
    "adjustbox": ("{{", (1,)),
    "fcolorbox": ("[{{{", (3,)),
    "scalebox": ("{[{", (2,)),
    "resizebox": ("*{{{", (3,)),
    "parbox": ("[[[{{", (4,)),
    "raisebox": ("{[[{", (3,)),
    "href": ("{{", (1,)),
    "diagbox": ("[{{", (1, 2)),
    "ding": ("{", ()),
    "sqrt": ("[{", (1,)),
    "frac": ("{{", (0, 1)),
    "multicolumn": ("{{{", (2,)),
    "multirow": ("[{[{[{", (5,)),
    "specialrule": ("{{{", ()),
    "addlinespace": ("[", ()),
    "arraystretch": ("", ()),
    "TblrNote": ("{", (0,)),
    "Xhline": ("{", ()),
}
BOLD = {"textbf", "mathbf", "bm", "boldsymbol", "pmb"}
BOLD_ON = {"bf", "bfseries"}
UNDERLINED = {"underline", "uline", "ul", "underbar"}
SUPERSCRIPTS = {"textsuperscript", "tnote", "footnotemark", "TblrNote"}
CITES = {"cite", "citep", "citet", "citealp", "citeauthor", "citeyear", "parencite"}
RULES = {"hline", "toprule", "midrule", "bottomrule", "Xhline", "thickhline", "hdashline", "specialrule", "Hline"}
ROW_ENDS = {"\\", "tabularnewline", "cr"}
SPACES = {
    " ": " ",
    "quad": " ",
    "qquad": " ",
    ",": "\u2009",
    "thinspace": "\u2009",
    ";": " ",
    ":": " ",
    "enspace": " ",
    "hfill": " ",
}
SPACES |= {"newline": " ", "linebreak": " ", "hskip": " ", "nobreakspace": " ", "par": " "}
TICKS = {"checkmark", "cmark", "Checkmark", "CheckmarkBold", "ticks", "tick", "yes", "surd"}
CROSSES = {"xmark", "XSolidBrush", "XSolid", "XSolidBold", "cross", "ballotx"}
SYMBOLS = {
    "textminus": "−",
    "textgreater": ">",
    "textless": "<",
    "gt": ">",
    "lt": "<",
    "%": "%",
    "&": "&",
    "#": "#",
    "_": "_",
}
SYMBOLS |= {
    "$": "$",
    "{": "{",
    "}": "}",
    "textpm": "±",
    "textuparrow": "↑",
    "textdownarrow": "↓",
    "dag": "†",
    "ddag": "‡",
}
SYMBOLS |= {
    "dots": "…",
    "ldots": "…",
    "slash": "/",
    "ast": "*",
    "star": "⋆",
    "texttimes": "×",
    "mid": "|",
    "blacktriangle": "▲",
}
SYMBOLS |= {"textasciicircum": "^", "textasciitilde": "~", "textbar": "|", "textquotesingle": "'"}
SYMBOLS |= {"etal": "et al.", "eg": "e.g.", "ie": "i.e.", "vs": "vs.", "wrt": "w.r.t."}
SYMBOLS |= {"bigstar": "★", "blacktriangledown": "▼", "textdagger": "†", "textasteriskcentered": "*", "Uparrow": "↑"}
SILENT = {
    "-",
    "small",
    "footnotesize",
    "scriptsize",
    "tiny",
    "normalsize",
    "large",
    "Large",
    "itshape",
    "it",
    "sffamily",
    "rm",
    "tt",
}
SILENT |= {
    "sc",
    "em",
    "strut",
    "relax",
    "ignorespaces",
    "protect",
    "xspace",
    "noindent",
    "left",
    "right",
    "big",
    "Big",
    "!",
    "/",
}
SILENT |= {
    "displaystyle",
    "scriptstyle",
    "textstyle",
    "unskip",
    "nonumber",
    "mdseries",
    "normalfont",
    "upshape",
    "rmfamily",
}
SILENT |= {
    "endhead",
    "raggedright",
    "arraybackslash",
    "allowbreak",
    "percent",
    "leavevmode",
    "null",
    "bigl",
    "bigr",
    "limits",
}
SPECIALS = {"~": " ", "--": "–", "---": "—", "``": '"', "''": '"', "#": "", "&": " ", "\n\n": " "}
DINGS = {"51": "✓", "52": "✓", "53": "✗", "54": "✗", "55": "✗", "56": "✗"}
# `\cmidrule[w](lr){2-3}` has an argument form of its own and says nothing that spans do not
CMIDRULE = re.compile(r"\\cmidrule\s*(?:\[[^\]]*\])?\s*(?:\([^)]*\))?\s*\{[^{}]*\}")
TABULAR_ARGUMENTS = {
    "tabular": "[{",
    "tabular*": "{[{",
    "tabularx": "{[{",
    "tabulary": "{[{",
    "longtable": "[{",
    "array": "[{",
}
TABULAR_ARGUMENTS |= {"tblr": "[{", "longtblr": "[{", "talltblr": "[{"}
TABULAR_ARGUMENTS |= {"tabu": "[{", "xltabular": "[{{", "NiceTabular": "[{["}
