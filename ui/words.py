"""What the screen says, in English and in one place; texts with {} are filled in where they are used."""

from __future__ import annotations

# the page
TITLE = "medmm review"
BROKEN = "The screen cannot show this ({}). Decisions that were stored are safe. Reload the page."
READER = "Your name"
READER_HELP = "Stored with all you do. Colleagues know you by it."
READER_MISSING = "Give your name first. It is stored with every decision."
READING_AS = "Reading as {}"
BLIND = "Blind first"
BLIND_HELP = "What the model says stays hidden in each case until you have said something of every finding."
KEYS = "Keys"
THESE_KEYS = "These keys"
KEYS_OF_FILM = (
    "While the film has the focus its own keys hold; ? shows them there, Esc leaves it. No key acts while you type."
)
MODEL = "Model {}"

# what is said everywhere
SIDES = {"image": "image", "note": "note", "record": "record"}
CALLS = {"flagged": "flagged", "not flagged": "not flagged", "uncertain": "uncertain"}
READINGS = {"first reader": "first reader", "second reader": "second reader", "adjudicator": "adjudicator"}
NOTHING_FLAGGED = "No finding reached its threshold. This does not rule anything out."
LOG_ODDS = "In log-odds: +0.7 doubles the odds, −0.7 halves them."
DOUBT = (
    "Uncertain: the model promises that at most {} of those who have it, and of those who have not, are called the "
    "opposite, and here it could not keep that."
)
MINUTES, HOURS, DAYS = "{} min", "{} h", "{} d"

# the worklist
WORKLIST = "Worklist"
CASES = "{:,} cases"
WAITING = "{:,} to review"
STATUS = "Review"
STATUSES = {
    "all": "All",
    "not reviewed": "To review",
    "reviewed": "Reviewed",
    "mine": "Mine",
    "claimed": "Claimed",
    "disagreed": "Disagreed",
}
FLAGGED_FOR = "Flagged for"
ANY_LABEL = "Any finding"
ONLY = "Only"
UNCERTAIN, UNLIKE, MISSING = "Uncertain", "Unlike", "No {}"
SEARCH = "Case id"
SEARCH_HINT = "Search case ids"
ORDER = "Order"
ORDERS = {"urgent": "Most urgent", "oldest": "Oldest", "newest": "Newest", "case": "Case id"}
START = "Start reading"
REFRESH = "Refresh"
REFRESH_HELP = "Read the list again: cases scored and decisions made since {}."
SHOWN = "{}–{} of {:,}"
EARLIER, LATER = "Earlier cases", "Later cases"
NONE_FITS = "No case fits these filters."
CLEAR = "Clear the filters"
ALL_DONE = "Every case is reviewed."
EXPORT = "Export"
DECISIONS = "Decisions (CSV)"
REFUSED = "{} not scored, and therefore not in this list"
REFUSED_HEADS = ("Case", "Code", "Problem", "Remedy")
RUNNING = "Scoring: {:,} of {:,} cases done{}; last moved {}."
CUT_SHORT = "Scoring was cut short: {:,} of {:,} cases done{}; last moved {}. The same medmm score again does the rest."
RUN_REFUSED, MOVED_NOW, MOVED = ", {:,} of them refused", "just now", "{} ago"
WAITS, CASE, FINDING, PROBABILITY, ALSO = "Waiting", "Case", "Finding", "Probability", "Also flagged"
NOT_THERE, MARKS, DECIDED, HELD = "Not given", "Remarkable", "Decided", "Claimed by"
UNLIKE_MARK, UNCERTAIN_MARK, DISAGREED = "unlike", "uncertain: {}", "disagreed"
HELD_BY = "{} has this case."
NEXT_ROW, ROW_BEFORE, OPEN_ROW = "Next case; ↓ too", "Previous case; ↑ too", "Open the case"
CLAIM_ROW = "Claim the case, or release it"
TURN_KEYS = "Page ↓", "Page ↑"

# a case
BACK, BEFORE, NEXT = "Worklist", "Previous case", "Next case"
PLACE = "{} of {}"
CLAIM, RELEASE, CLAIMED_BY = "Claim", "Release", "Claimed by {}"
REPORT, SR = "Report (PDF)", "Structured report (DICOM SR)"
NO_SR = "No structured report: {}."
SAW = "The model saw"
NOT_GIVEN = "{} not given"
HIDDEN = "The model’s answer is hidden until you have said something of every finding."
MODEL_AND_TIME = "Model {}, scored {}"
NO_IMAGE, NO_NOTE, NO_RECORD = "No image was given.", "No note was given.", "No record value was given."
NO_SIMILAR = "No similar training cases were kept with this answer."
NO_HISTORY = "Nobody has decided anything yet."
CHOOSE, CHOOSE_KEYS = "Choose a finding", "1 – 9, ↑ ↓"
PRIOR_STUDY = "prior study"
FILMS, SLICES = ("{} film", "{} films"), ("{} slice", "{} slices")
SCALE, TICK = "Probability {}, threshold {}", "threshold {}"
SENTENCE = (
    "Calibrated probability {}; it is below the threshold of {}.",
    "Calibrated probability {}; it reaches the threshold of {}.",
)
EVIDENCE = {"why": "Why", "note": "Note", "record": "Record", "similar": "Similar", "history": "History"}
NOTE_MARKS = (
    "Marked: words whose hiding changes the log-odds of {}; orange for it, blue and dotted against it. "
    "A denial is one phrase."
)
WORTH, NOT_READ = "{} log-odds", "The model did not read this far"
BROUGHT, WITHOUT = "Brought", "Without it"
WITHOUT_SAID, WITHOUT_SIDE = "{} ({})", "Without the {}: {} ({})"
TOGETHER, NONE_GIVEN = "together", "not given"
BARS = (
    "Starts at {}, what the model says of a case it knows nothing of. “Together” is what no modality brings alone; it "
    "is part of the bars above."
)
VALUE, STATED_VALUE, UNIT, USUAL, WORTH_TO = "Value", "Stated", "Unit", "Usual range", "For {}"
OUTSIDE = {"below": "↓ below {}", "above": "↑ above {}"}
REMARKS = "Remarks of the reader"
SIMILAR_HEADS = ("Training case", "{}", "Other findings", "Distance")
SIMILAR_NOTE = (
    "Other patients whom the model decides alike, and as their own record says. Distance 0: decided the same; 1: as "
    "far apart as training cases are."
)
STATED = {None: "not stated", True: "yes", False: "no"}
REGIONS, OF_FILM, OF_THE_FILM = ("{} region", "{} regions"), "of film {}", "of the film"
QUOTED, MORE_WORDS, VALUE_OF = "“{}”", "{} and {} more words", "the value of {}"
FLIPPED = ("Without {} {} would be flagged.", "Without {} {} would not be flagged.")
FLIPPED_NOTE = "It says what the model leans on, not what the patient has."

# a decision
COMMENT = "Comment"
TO_COMMENT = "Go to the comment; Esc leaves it"
COMMENT_HINT = "Why? The next reader will be glad of it."
ACCEPT, OVERRIDE, CANNOT = "Accept: {}", "Override: {}", "Cannot judge"
PRESENT, ABSENT = "Present", "Absent"
ANSWERS = {True: PRESENT, False: ABSENT, None: CANNOT}
IS_STATED = {True: ", present", False: ", absent", None: ""}
UNDO = "Undo"
DECIDED_ALL = "You have decided every finding. J opens the next case."
READS_AS = "{} reads as {}."
ADJUDICATE, ADJUDICATE_NOT = "Adjudicate", "Do not adjudicate"
BY = "{} ({}), {}"
WITH_COMMENT = "{} “{}”"
DECIDED_AS, DECIDED_BLIND = "{}: {}{} ({})", "{}: {} ({})"
CONFLICT = "Said of {} while you were reading: {} Nothing of yours was stored. Decide again if it still holds."
CONFLICT_HIDDEN = (
    "Somebody else said something of {} while you were reading. Nothing of yours was stored. Say it again if it holds."
)
NOTHING_STORED = "Nothing was stored: {}"
WITH_REGION = "With a region on the film."
VERDICTS = {"accept": "accepted", "override": "overridden", "cannot judge": "cannot judge"}
STATES = {"undecided": "", "agreed": "{}, agreed", "disagreed": "disagreed", "adjudicated": "{}, final"}
DID = {
    "opened": "opened the case",
    "closed": "left after {} s",
    "claimed": "claimed the case",
    "released": "released the case",
    "read as": "reads as {}",
    "retracted": "took back what was said of {}",
    "exported": "took it out as {}",
}
EARLIER_ANSWER = "(of an earlier answer)"

# the login
LOGIN_FIRST = "Log in to see the worklist."
LOGIN_ENDED = "Your login has ended. Log in again to go on."
LOGIN_REFUSED = "{} may not use this screen. Ask whoever runs it to put you on a list."
LOGIN_NAMELESS = "Your login does not say who you are in a way that this screen trusts. Ask whoever runs it."
LOGIN_BROKEN = "The login is not set up. Ask whoever runs this screen."
LOGIN_MISSING = "Without a login this screen answers its own machine only."
LOG_IN, LOG_OUT = "Log in", "Log out"
ROLES = {"reader": "Reader", "lead": "Lead reader", "admin": "Administrator"}

# the model and the cohort
MODELS = "Model and cohort"
MODEL_CHOICE = "Model"
MODEL_FACTS = "The model"
MODEL_ROWS = {
    "id": "Model",
    "trained_by": "Trained with medmm",
    "sha256": "Its digest (SHA-256)",
    "encoders": "Digest of its encoders",
    "scored": "Scored",
    "span": "First and last scored",
    "refused": "Not scored",
}
MODEL_UNKNOWN = "not known: no manifest.json beside this store"
LABEL_HEADS = ("Finding", "Threshold", "Flagged", "Uncertain")
RANGE = "{} to {}"
INTERVAL = "{} ({} to {})"
NOTHING = "–"
NO_PROMISE = "not promised"
OPENING_HISTORY = "Reading the history …"
REPORTS = "Reports"
REPORTS_HINT = "Choose a report"
REPORTS_CHOICE = "Report"
REPORTS_NONE = (
    "No report on this model lies in the scored folder or in a folder beside it. medmm train, medmm evaluate and "
    "medmm monitor write one."
)
OVER_TIME = "Over time"
OVER_TIME_GROUP = "Cases"
OVER_TIME_ALL = "All cases"
OVER_TIME_FEW = "No case of this group was scored."
DRIFT_GROUPS = {
    "probability": "Probabilities",
    "call": "Calls",
    "review": "Overridden by people, among what they decided",
}
DRIFT_NOBODY = "Nobody has decided anything of these cases yet."
DRIFT_NOTE = "Grey band: the first windows, with which the later ones are compared. medmm monitor says more."
DRIFT_HEADS = ("What", "Verdict", "The rule that gave it")
PEOPLE = "The model and people"
PEOPLE_NOTE = (
    "People decide what they choose to, the most urgent first: this is not the whole cohort. Whoever has seen the "
    "model’s answer may follow it. Where readers differ and nobody adjudicated, there is no answer."
)
PEOPLE_HEADS = ("Finding", "Decided", "As the model called it", "Read by two or more", "They agree")
CALIBRATION = "Calibration against what people said"
CALIBRATION_FEW = "It takes {} answers of a finding; there are at most {}."
CALIBRATION_NOTE = "Solid: {}. Dashed: the older half, where there are enough. Bars: 95 % intervals."
ECE = "ECE {}; by luck alone {}"
CALIBRATION_HALVES = ("all answers", "the newer half of the answers")
SUBGROUPS = "Groups, against what people said"
SUBGROUPS_NONE = "It takes answers of people and a record that tells groups apart."
SUBGROUPS_HEADS = ("Group", "Finding", "Cases", "Present", "Flagged", "Sensitivity", "Specificity")
FEW = "{:,}, few"
GROUP, GIVEN = "{}: {}", "given"
AGES = "under {}", "{} and over"
SUBGROUPS_NOTE = "95 % intervals by resampling. few: fewer than {} cases with one of the answers; not to be relied on."
