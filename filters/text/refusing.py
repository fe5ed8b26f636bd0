"""What an assistant says that will not or cannot do what it was asked, as patterns over one sentence.

A refusal has a grammar that outlives the wording of one model: the assistant ("I", "we", nobody named), a negated ability or
willingness, and a verb of serving somebody, with an object where the verb alone is everyday speech ("I can't describe how happy
I am"); or a judgement in place of it ("It is not appropriate to ..."), a policy, a missing image, or "as an AI". English in
full; German, French, Spanish, Italian, Portuguese, Dutch, Russian, Chinese, Japanese and Korean by the same parts, shorter.
"""

from typing import Final

import polars as pl

# Case-insensitive, an apostrophe straight or curly. Word borders are ASCII: the Unicode ones leave the regex engine's fast
# path at the first non-ASCII character.
_B: Final = r"(?-u:\b)"
_FIRST: Final = r"(?:\A\W*|[.!?]\s+|\n)"

# ---- English ----
_I: Final = (
    rf"{_B}(?:i|we|this (?:assistant|model|ai))(?:['’]m|['’]re|['’]d| am| are| is| would)?"
    r"(?:,? (?:unfortunately|[a-z]+ly|also|still|just|am|are|do|therefore|afraid|sorry|that|but|i),?){0,3} "
)
_STATE: Final = (
    r"(?:able|allowed|permitted|programmed|designed|equipped|trained|comfortable|capable|going|willing|supposed"
    r"|authori[sz]ed"
    r"|prepared|qualified|meant|at liberty|in a position)"
)
_CANNOT: Final = (
    r"(?:can['’]?t|can ?not|can no longer|can neither|could(?: not|n['’]?t)|won['’]?t|will not|would(?: not"
    r"|n['’]t)|(?:should|must|may) not"
    rf"|shouldn['’]t|unable|incapable|(?:not|(?:not|don['’]?t) feel)(?: [a-z]+ly)? {_STATE}"
    r"|(?:refuse|decline|programmed not|designed not|trained not|prohibited from|prevented from|forbidden)"
    r"|(?:lack|(?:do not|don['’]?t)(?: [a-z]+ly)? have|have no) (?:the |any )?(?:ability|capabilit(?:y|ies)"
    r"|capacity|access|means|permission)"
    r"|(?:do not|don['’]?t) (?:wish|want|intend))"
    r"(?:,(?: [a-z]+){1,5},)?(?: (?:to|of|be able to|be|for|with|[a-z]+ly)){0,3} "
    # "cannot suggest or provide"; above, "cannot, in good conscience, provide"
    r"(?:[a-z]+(?:,| or| nor| and|/)+ ){0,2}"
)
_PICTURE: Final = rf"(?:images?|pictures?|photos?|photographs?|visuals?|files?|attachments?|links?|urls?|text){_B}"
_ANSWERS: Final = (
    r"(?:information|instructions?|advice|details?|guidance|guidelines|tips|steps|directions|examples?|lists?"
    r"|methods?|ways?|strateg(?:y|ies)"
    r"|recommendations?|suggestions?|opinions?|answers?|responses?|explanations?|arguments?|reasons?|descriptions?"
    r"|captions?|assistance"
    r"|help|support|content|materials?|resources?|data|jokes?|stor(?:y|ies)|essays?|code|scripts?|links?|names?"
    r"|identit(?:y|ies))"
)
# Not any verb: "I can't help falling in love" and "I can't see without my glasses" are captions.
_TASK: Final = (
    # Verbs of serving, whatever their object.
    rf"(?:(?:provid(?:e|ing)|assist(?:ing)?|fulfil(?:l|ling)?|condon(?:e|ing)|endors(?:e|ing)|facilitat(?:e|ing)){_B}"
    rf"|compl(?:y|ying) with{_B}|help(?:ing)? (?:you|with|in|by|anyone|someone|to){_B}"
    rf"|(?:of )?(?:any )?(?:help|assistance) (?:with|to you)"
    r"|(?:see|view|access|open|load|display|read|perceiv|look|process|analy[sz]|interpret|examin|describ|caption)"
    r"(?:e|ing)? (?:(?:the|this|that|these|any|an?|at|your|actual|provided|attached|specific|details|of|in|or) ){0,4}"
    rf"(?:[a-z]+ )?{_PICTURE}"
    r"|(?:describ|identify|determin|recogni[sz]|generat|creat|writ|produc|offer|confirm|verify|disclos|answer|reveal"
    r"|discern|make out|discuss|infer|assum|comment on|respond to|speak (?:on|about)"
    r"|engag(?:e|ing) (?:in|with)|participat(?:e|ing) in|speculat(?:e|ing) (?:on|about)|explain|predict|guess|judg"
    r"|rat|rank)(?:e|ing)? "
    r"(?:an?|any|the|this|that|these|those|who|what|how to|specific|real|individuals?|people|persons?|your"
    r"|you (?:on|to)|such|sexual|explicit"
    r"|violen(?:t|ce)|harm(?:ing|ful)?|illegal|unethical|dangerous|offensive|hateful|discriminat[a-z]+"
    r"|confidential|private"
    r"|identif[a-z]+|personal|sensitive|inappropriate|medical|legal"
    rf"|(?:[a-z-]+ )?{_ANSWERS}){_B}"
    # Everyday verbs: "I can't recommend this cafe enough".
    r"|(?:shar|encourag|promot|recommend|suggest|support|advis|advocat)(?:e|ing)? (?:that|any|such|you (?:on|to)"
    r"|violen|harm|illegal|unethical"
    rf"|dangerous|hat|discriminat|self-harm|drug|using|confidential|private|personal|sensitive"
    rf"|(?:[a-z-]+ )?{_ANSWERS}{_B})"
    rf"|(?:giv(?:e|ing)|offer(?:ing)?|send(?:ing)?|show(?:ing)?|tell(?:ing)?|suggest(?:ing)?|shar(?:e|ing)|mak(?:e"
    rf"|ing)|writ(?:e|ing)|creat(?:e|ing)) "
    rf"(?:you |out |anyone |up )?(?:(?:an?|any|the|this|that|your|such|some|more|further"
    rf"|[a-z-]+) ){{0,3}}{_ANSWERS}{_B}"
    rf"|tell(?:ing)? (?:you )?(?:who|what|where|which|how to){_B}"
    rf"|mak(?:e|ing) (?:any )?(?:assumption|judg|inference|determination|(?:jokes?|fun|comments?|statements?"
    rf"|claims?) (?:about|of|that|on|regarding))"
    rf"|(?:continue|proceed|go ahead) with (?:this|that|the|your){_B}"
    rf"|(?:do|say|answer|discuss|continue|complete|perform|respond to|process|handle) (?:that|this|so"
    rf"|it)(?: (?:request|question|task|topic|kind|sort|for you){_B}|\W*\z))"
)
_INABILITY: Final = (
    rf"{_I}{_CANNOT}{_TASK}|(?:{_FIRST}|sorry\W{{1,3}}(?:but )?)(?:(?:unable|not able) to|cannot|can['’]?t) {_TASK}"
    # After an apology that opens the sentence, inability to do anything.
    rf"|{_FIRST}(?:(?:i['’]?m|i am) (?:[a-z]+ly |so )?(?:sorry|afraid)|i (?:[a-z]+ly )?apologi[sz]e"
    rf"|(?:my )?apologies)"
    rf"(?: for (?:any|the) [a-z]+)?,? but {_I}{_CANNOT}"
    rf"|{_B}(?:i|we) (?:do not|don['’]?t) (?:provide|assist with|offer|support|condone|endorse|engage in) (?:any "
    rf"|such |illegal |harmful |this )"
)
# "It is not appropriate to ...": a judgement of the request, which no picture asks for.
_MORAL: Final = r"(?:appropriate|ethical|respectful|acceptable|moral|responsible|okay|ok|advisable|permissible|humane|kind|constructive|productive)"
_FACT: Final = r"(?:accurate|fair|safe|legal|right|correct|possible|helpful|healthy|good|good idea|a good idea|true|recommended|wise)"
_IMMORAL: Final = (
    r"(?:inappropriate|unethical|immoral|unacceptable|irresponsible|disrespectful|offensive|illegal|harmful|wrong"
    r"|morally [a-z]+"
    r"|discriminatory|inaccurate|unfair)"
)
_SAY: Final = (
    r"(?:provid|suggest|discuss|say|claim|assum|imply|stat|ask|request|shar|promot|encourag|describ|speculat"
    r"|generali[sz]|stereotyp|mak|giv|offer"
    r"|engag|assist|help|joke|judg|identify|creat|generat|writ|support|advocat|compar|answer|blam|convinc|portray"
    r"|depict|discriminat)"
)
_NOT_RIGHT: Final = (
    rf"{_B}it(?:['’]s| is| would)(?: (?:also|generally|simply|really|be))? (?:not|never)(?: (?:be|be considered"
    rf"|considered|considered to be|[a-z]+ly))?"
    rf" (?:(?:{_MORAL}|{_FACT})(?:,| or| nor| and)+ )*(?:{_MORAL}(?:,? (?:or|nor"
    rf"|and) {_FACT})?(?: (?:or helpful )?(?:for [a-z]+ )?(?:to|for (?:me|us|anyone)){_B}|[.,]| behaviou?r{_B}))"
    rf"|{_B}it (?:isn['’]t|wouldn['’]t be) {_MORAL} (?:for (?:me|us) )?to {_SAY}"
    rf"|{_B}it(?:['’]s| is| would be) (?:(?:also|highly|extremely|both|completely) )?(?:{_IMMORAL}(?:,| or"
    rf"| and)+ )*{_IMMORAL} (?:for (?:me|us|anyone) )?to {_SAY}"
    rf"|{_B}i (?:do not|don['’]?t) (?:think|believe|feel)(?: that)? (?:it|this|that)(?:['’]s| is"
    rf"| would be)(?: [a-z]+ly)? (?:{_MORAL}|{_FACT}){_B}"
    rf"|{_B}i(?:['’]m| am) not (?:sure|certain|convinced)(?: that| if| whether)? (?:it|this|that)(?:['’]s| is"
    rf"| would be) (?:{_MORAL}|{_FACT}){_B}"
    rf"|{_B}not (?:appropriate|possible|ethical|able) for me to{_B}"
)
_DECLINE: Final = (
    rf"{_B}my (?:[a-z]+ )?(?:guidelines|programming|policies|training|principles) (?:do not|don['’]?t|does not"
    rf"|doesn['’]t|prohibits?|prevents?|forbids?)"
    rf"|{_B}(?:i|we)(?:['’]ll|['’]d| will| would)? (?:must|have to|need to|like to"
    rf"|prefer to)(?: [a-z]+ly)? (?:decline|refuse|refrain){_B}"
    rf"|{_B}(?:i|we)(?:['’]d| would)? (?:prefer|rather|choose) not (?:to )?{_TASK}"
    rf"|{_B}(?:i|we) (?:must|have to|would|strongly)(?: [a-z]+ly)? (?:advise|urge|caution|recommend) against{_B}"
)
SELF: Final = (
    rf"(?i:{_B}as an? (?:(?:helpful|responsible|large|vision|visual|text-based|multimodal|ai"
    rf"|artificial intelligence|safe|ethical|virtual|and|harmless|honest|respectful),? )"
    rf"{{0,4}}(?:language model|ai model|ai assistant|ai system|(?:virtual assistant|digital assistant"
    rf"|chatbot),? (?:i|my)){_B}"
    rf"|{_B}as an ai [a-z-]+ (?:model|assistant|system){_B}"
    rf"|{_B}as an (?:ai|artificial intelligence)(?:,| (?:i|that|who|trained|developed|created|without|with no){_B})"
    rf"|{_B}i(?:['’]?m| am) (?:(?:just|only|merely|simply|still) )?an? (?:ai|(?:large |vision "
    rf"|visual )*language model|artificial intelligence){_B}"
    rf"|{_B}i(?:['’]m| am| was) (?:programmed|designed|trained) to{_B}"
    rf"|{_B}my (?:purpose|primary function|training data|knowledge cut-?off|programming) (?:is|as|only|does|was"
    rf"|prevents){_B}"
    rf"|{_B}i (?:do not|don['’]?t) have (?:personal (?:opinions|beliefs|experiences|feelings|preferences)"
    rf"|(?:enough|any|sufficient) (?:information|context)"
    rf"|(?:[a-z-]+ )?access to (?:(?:the|this|that|any|your|an|its|actual|original|specific|real-time|external"
    rf"|visual|full) ){{0,3}}"
    rf"(?:{_PICTURE}|visual|contents?{_B}|context{_B}|internet|web|data{_B}|information{_B}|sources{_B}|tools{_B}"
    rf"|files?{_B})){_B})"
)
"""An assistant that speaks of itself: a defect in any caption, refusal or not."""
_POLICY: Final = (
    rf"(?:against|violat(?:e|es|ing)|breach(?:es|ing)?|conflicts? with) (?:my|openai['’]?s|(?:the |our )?(?:content"
    rf"|usage|safety|community|ethical))"
    rf"(?: [a-z]+){{0,2}} ?(?:programming|polic(?:y|ies)|guidelines|principles|standards|values){_B}"
    rf"|sorry,? but (?:this|the|that|your)(?: [a-z]+){{0,4}} (?:{_PICTURE}|(?:content|request|question|prompt){_B})"
    rf"|(?:sorry|apologi[sz]e|apologies) for (?:the|any|my) (?:confusion|misunderstanding){_B}"
)
_NO_PICTURE: Final = (
    rf"{_B}no {_PICTURE}(?: (?:was|were|is|has been|have been))? (?:provided|attached|uploaded|shared|included"
    rf"|visible to me){_B}"
    rf"|{_B}i (?:do not|don['’]?t|did not|didn['’]t|cannot|can['’]?t) (?:(?:actually|currently) )?see (?:any|an"
    rf"|the) {_PICTURE}"
    rf"|{_B}please (?:provide|upload|re-?upload|attach|share|send)(?: me)?(?: with)? "
    rf"(?:the|an?|your|another|a different) (?:[a-z]+ )?{_PICTURE}"
    rf"|(?:image|picture|photo)(?: (?:that )?you(?:['’]ve| have)? (?:provided|uploaded|shared|attached))? "
    rf"(?:did not|didn['’]t|failed to|could not|couldn['’]t)(?: be)? (?:load|upload|display|open|come through)"
    rf"|{_B}i (?:have not|haven['’]t) (?:received|been (?:given|provided|shown)) (?:with )?(?:any|an|the) {_PICTURE}"
)
_ENGLISH: Final = f"{_INABILITY}|{_NOT_RIGHT}|{_DECLINE}|{_POLICY}|{_NO_PICTURE}"

# ---- Other languages: inability and a verb of serving; an apology and inability; "as an AI"; no access, no image ----
_REST: Final = r"[^.!?。！？\n]*?"
_GERMAN: Final = (
    rf"(?:{_B}(?:ich|wir) (?:kann|können|darf|dürfen|werde|werden|möchte|möchten|könnte)|(?:kann|können|darf|werde"
    rf"|möchte) (?:ich|wir)){_B}{_REST}{_B}(?:nicht|kein(?:e|en|er|em|es)?){_B}"
    rf"{_REST}(?:helfen|hilfe|unterstütz|beschreib|bereit|geben|gebe|nennen|liefern|beantwort|antwort|erkenn"
    rf"|identifizier|anbiet|erstell|generier|anzeig|erfüll|sehen|einsehen|öffnen"
    r"|verarbeit|analysier|fortfahr|auskunft|informationen|anleitung|äußern|spekulier|bestimmen|weitergeben"
    r"|nachkommen|unternehmen|schreiben)"
    rf"|(?:ich bin|bin ich|wir sind)(?: leider| daher)? nicht (?:in der lage|befugt|berechtigt|dafür)"
    rf"|(?:es tut mir (?:sehr |wirklich )?leid|leider|entschuldigung|tut mir leid)\W{{1,3}}(?:aber )?(?:ich kann"
    rf"|kann ich|ich darf|darf ich|ich bin){_REST}{_B}(?:nicht|kein(?:e|en|er)?){_B}"
    rf"|ich habe(?: leider)? keinen? zugriff|{_B}als (?:ein |eine )?(?:großes |reines |textbasiertes )?(?:ki"
    rf"|künstliche intelligenz|sprachmodell|ai)(?:{_B}|-)"
    r"|(?:kein bild|keine bilder|kein foto)(?: wurde)? (?:bereitgestellt|hochgeladen|angehängt|erhalten|sehen)"
    r"|verstößt gegen (?:meine|die|unsere) [a-zäöü]*(?:richtlinien|grundsätze)"
)
_FRENCH: Final = (
    rf"(?:{_B}(?:je|nous) ne (?:peux|puis|pourrai|pourrais|saurais|pouvons|veux)(?: malheureusement"
    rf"| donc)?(?: pas)?(?: [a-zéè]+ment)?|il m['’]est impossible (?:de|d['’])|je ne suis pas (?:en mesure|capable"
    rf"|autorisée?|habilitée?|en capacité)(?: de| d['’])?"
    rf"|je suis (?:incapable|dans l['’](?:incapacité|impossibilité))(?: de| d['’])?) ?{_REST}"
    r"(?:aider|fournir|décri|donner|assister|répondre|identifier|reconnaître|proposer|partager|générer|créer"
    r"|rédiger|voir (?:l|d|cette|votre|les)|afficher|accéder|analyser|traiter|satisfaire|accéder|continuer"
    r"|discuter|commenter|interpréter|visualiser|ouvrir|divulguer|produire|écrire|expliquer)"
    rf"|(?:désolée?|m['’]excuse|regrette|malheureusement)\W{{1,3}}(?:mais )?je ne (?:peux|puis|suis|pourrai"
    rf"|saurais){_B}|{_B}en tant (?:qu['’]|que )(?:une |un )?(?:grand |simple )?(?:ia{_B}|intelligence artificielle"
    rf"|modèle de langage|assistant (?:ia|virtuel))"
    r"|je n['’]ai pas (?:accès|la (?:capacité|possibilité)|d['’]accès|d['’]opinions?)|aucune (?:image"
    r"|photo) n['’]a été (?:fournie|jointe|téléchargée)|(?:contraire|contre) (?:à )?(?:mes|aux|nos) (?:directives"
    r"|principes|règles)"
)
_SPANISH: Final = (
    rf"{_B}no (?:puedo|podemos|podría|podré|me es posible|soy capaz de|estoy (?:en condiciones|autorizad[oa]"
    rf"|capacitad[oa]|programad[oa]|diseñad[oa])(?: de| a| para)?|tengo (?:la )?(?:capacidad|permiso"
    rf"|posibilidad)(?: de| para)?) ?{_REST}"
    r"(?:ayud|proporcion|describ|asist|brind|ofrec|respond|identific|reconoc|dar(?:te|le|les|os)?(?-u:\b)|compart"
    r"|gener|crear|escrib|ver (?:la|las|el|esta|esa|im|nin|tu|su)|visualiz|acced|analiz|proces|cumplir|continu"
    r"|coment|interpret|facilit|mostr|abrir|revel|explic|participar|realizar)"
    rf"|(?:lo siento|lo lamento|disculp[ae]|perdón|desafortunadamente"
    rf"|lamentablemente)(?: mucho)?\W{{1,3}}(?:pero )?no (?:puedo|me es posible|soy capaz|tengo|estoy){_B}"
    rf"|{_B}como (?:un |una )?(?:gran )?(?:ia{_B}|inteligencia artificial|modelo de (?:lenguaje|ia)"
    rf"|asistente (?:de ia|virtual))"
    r"|no tengo acceso|no se (?:ha|han) (?:proporcionado|adjuntado|subido)(?: ninguna)?|(?:contra"
    r"|viola) (?:de )?(?:mis|las|nuestras) (?:políticas|directrices|normas|principios)"
)
_ITALIAN: Final = (
    rf"{_B}non (?:posso|possiamo|potrei|sono in grado di|sono autorizzat[oa] a|mi è possibile|ho la (?:capacità"
    rf"|possibilità) di) ?{_REST}"
    r"(?:aiut|forn|descriv|assist|offr|rispond|identific|riconosc|dar(?:ti|le|vi|e)(?-u:\b)|condivid|gener|crear"
    r"|scriver|veder[ei] (?:l|un|ques|im|fot|la)|visualizz|acced|analizz|elabor|soddisf|continuar|comment"
    r"|interpret|mostr|aprir|rivel|spieg|partecip)"
    rf"|(?:mi dispiace|mi spiace|scusa|spiacente|purtroppo)\W{{1,3}}(?:ma )?(?:io )?non (?:posso|sono|mi è|ho){_B}"
    rf"|{_B}(?:come|in quanto|essendo)(?: un[a']?)?(?: grande)? (?:ia{_B}|intelligenza artificiale"
    rf"|modello (?:linguistico|di linguaggio|di ia)|assistente (?:ia|virtuale))"
    r"|{B}essendo un['’](?:ia{B}|intelligenza artificiale)|non ho accesso|nessuna (?:immagine"
    r"|foto) (?:è stata )?(?:fornita|caricata|allegata)|(?:contro|viola) (?:le mie|le nostre|le) (?:politiche"
    r"|linee guida|norme)"
).replace("{B}", _B)
_PORTUGUESE: Final = (
    rf"{_B}(?:não|nao) (?:posso|podemos|poderei|consigo|sou capaz de|estou (?:autorizad[oa]|habilitad[oa]"
    rf"|em condições)(?: de| a)?|me é possível|é possível para mim|tenho (?:a )?(?:capacidade|permissão"
    rf"|possibilidade)(?: de| para)?) ?{_REST}"
    r"(?:ajud|fornec|descrev|auxili|oferec|respond|identific|reconhec|dar(?:-lhe)?(?-u:\b)|compartilh|partilh"
    r"|ger(?:ar|o)|criar|escrev|ver (?:a|as|o|essa|esta|im|nenh|sua)|visualiz|acess|analis|process|cumpr|atend"
    r"|continu|coment|interpret|mostr|abrir|revel|explic|particip|prestar|realizar)"
    rf"|(?:desculp[ae]|sinto muito|lamento|peço desculpas?|infelizmente)\W{{1,3}}(?:mas )?(?:eu )?(?:não"
    rf"|nao) (?:posso|consigo|sou|estou|tenho){_B}|{_B}como (?:um |uma )?(?:grande )?(?:ia{_B}"
    rf"|inteligência artificial|modelo de (?:linguagem|ia)|assistente (?:de ia|virtual))"
    r"|(?:não|nao) tenho acesso|nenhuma (?:imagem|foto) foi (?:fornecida|enviada|anexada)|(?:contra"
    r"|viola) (?:as )?(?:minhas|nossas) (?:políticas|diretrizes|normas)"
)
_DUTCH: Final = (
    rf"(?:{_B}(?:ik|wij|we) (?:kan|kunnen|mag|zal|wil)|(?:kan|mag|zal) ik){_B}{_REST}{_B}(?:niet"
    rf"|geen){_B}{_REST}(?:helpen|beschrijven|geven|bieden|verstrekken|beantwoorden|assisteren|identificeren"
    rf"|herkennen|delen|genereren|maken|schrijven|bekijken|zien|openen|voldoen|verwerken|analyseren)"
    rf"|(?:het spijt me|sorry|helaas)\W{{1,3}}(?:maar )?(?:ik kan|kan ik|ik ben|ik mag){_REST}{_B}(?:niet|geen){_B}"
    rf"|ik ben (?:helaas )?niet (?:in staat|bevoegd)|{_B}als (?:een )?(?:ai|taalmodel"
    rf"|kunstmatige intelligentie)(?:{_B}|-)|ik heb (?:helaas )?geen toegang"
)
_RUSSIAN: Final = (
    rf"я (?:[а-яё]+, )?не (?:могу|смогу|в состоянии|имею (?:возможности|права|доступа)|буду|способ(?:ен"
    rf"|на)){_REST}(?:помо[гч]|предостав|описа|описыва|ответ|отвеч|дать|определ|опозна|распозна|идентифиц|узна"
    rf"|созда|сгенериров|напис|просмотр|увид|видеть|обрабо|выполн|обсужд|комментир|продолж|предлож|анализир|объясн"
    rf"|раскры|доступ|изображен)"
    rf"|(?:извините|простите|прошу прощения|к сожалению|сожалею|мне (?:очень )?жаль)\W{{1,3}}(?:но )?я не (?:могу"
    rf"|смогу|в состоянии|имею|умею)|(?:как|будучи)(?: большая)? (?:языковая модель|языковой модел|ии(?:[, \-])"
    rf"|искусственный интеллект|ии-|искусственным интеллектом)|я(?: всего лишь| просто)? (?:—|-"
    rf"|–) ?(?:языковая модель|ии|искусственный интеллект)"
    r"|у меня нет (?:доступа|возможности)|изображение не (?:было )?(?:предоставлено|загружено|прикреплено)"
    r"|противоречит (?:моим|нашим|правилам|политике)"
)
_CHINESE: Final = (
    r"(?:我|本人|我们|我們)(?:[^。！？\n，,]{0,6})(?:无法|無法|不能|不可以|没办法|沒辦法|没有办法|沒有辦法"
    r"|没有能力|沒有能力|不会|不會|不便|不愿|拒绝|拒絕)[^。！？\n]{0,24}?"
    r"(?:提供|描述|识别|識別|辨识|辨識|协助|協助|帮助|幫助|帮到|幫到|帮你|幫你|帮您|回答|回应|回應|查看|看到|看见"
    r"|看見|访问|訪問|生成|创建|創建|满足|滿足|完成|继续|繼續|讨论|討論|评论|評論|分析|处理|處理|打开|打開|透露"
    r"|支持|分享|解释|解釋|撰写|給出|给出|判断|判斷)"
    r"|(?:抱歉|对不起|對不起|不好意思|很遗憾|很遺憾)[，,、。！!\s]{0,3}(?:但|但是|可是|不过|不過)?[，,]?(?:我|这个"
    r"|這個|这|這|目前|本)?[^。！？\n]{0,8}(?:无法|無法|不能|没办法|沒辦法|没有办法|不可以|不会|不會|没有|沒有)"
    r"|(?:作为|作為|身为|身為|我是|我只是)(?:一个|一個|一名|一款|一种|個|个)?(?:大型|大|智能)?(?:AI|ai|Ai|人工智能"
    r"|人工智慧|语言模型|語言模型|語言模型|聊天机器人|聊天機器人)"
    r"|(?:没有|沒有|未)(?:收到|看到|上传|上傳|提供)(?:任何)?(?:您的|你的)?(?:图片|圖片|图像|圖像|照片)"
    r"|违反(?:了)?[^。！？\n]{0,8}(?:政策|准则|規定|规定)"
)
_JAPANESE: Final = (
    r"(?:申し訳|すみません|すいません|ごめんなさい|恐れ入りますが|残念ながら)[^。！？\n]*?(?:でき(?:ません|ない"
    r"|かね)|ません|かねます|出来ません|わかりかね)"
    r"|(?:提供|説明|描写|特定|識別|判別|判断|手伝い|手助け|答え|回答|対応|応え|応じる|生成|作成|表示|閲覧|支援"
    r"|協力|助け|お見せ|認識|解析|分析|処理|案内|開示|見る|記述|キャプション)[^。！？\n]{0,12}?(?:でき(?:ません"
    r"|ない|かね)|出来ません|かねます|いたしかね|しかね|わけにはいきません)"
    r"|(?:AI|ＡＩ|人工知能|言語モデル|大規模言語モデル)(?:言語モデル|アシスタント|モデル)?(?:として|である私"
    r"|なので|ですので|ですから)|(?:私|わたし)は(?:単なる|ただの)?(?:AI|ＡＩ|人工知能|言語モデル|大規模言語モデル)"
    r"|画像(?:が|は)(?:提供|添付|アップロード)され"
)
_KOREAN: Final = (
    r"(?:죄송|미안|유감|안타깝)[^.!?。\n]*?(?:수 없|수는 없|못합니다|않습니다|어렵습니다|불가능)"
    r"|(?:제공|설명|도움|도와|도울|식별|인식|답변|대답|답할|묘사|생성|작성|볼|확인|분석|처리|공유|지원|알려|이행"
    r"|열람|응답)[^.!?。\n]{0,8}?(?:수 없|수는 없|수가 없|못합니다)"
    r"|(?:AI|인공지능|언어 ?모델|대규모 언어 ?모델)(?: ?언어 ?모델| ?어시스턴트| ?모델)?(?:로서|로써|이기 때문"
    r"|이므로|이라서|입니다)|이미지(?:가|는) (?:제공|첨부|업로드)되지"
)
_OTHERS: Final = (
    _GERMAN,
    _FRENCH,
    _SPANISH,
    _ITALIAN,
    _PORTUGUESE,
    _DUTCH,
    _RUSSIAN,
    _CHINESE,
    _JAPANESE,
    _KOREAN,
)
_PATTERNS: Final = (SELF, f"(?i:{_ENGLISH})", *(f"(?i:{pattern})" for pattern in _OTHERS))
_MORALIZES: Final = (
    r"(?i)\A\W*(?:first,? )?it(?:['’]s| is) (?:also )?(?:important|crucial|essential|necessary|vital) to (?:note"
    r"|remember|understand"
    r"|respect|emphasi[sz]e|consider|recogni[sz]e|acknowledge|avoid|treat|prioriti[sz]e|approach|clarify|point out"
    r"|state)(?-u:\b)"
    rf"|{_B}(?:is|are|was|were) (?:never|not)(?: an?)?(?: (?:[a-z]+,?|or|and)){{0,4}} "
    rf"(?:acceptable|appropriate|justified|justifiable|ethical|okay|moral|respectful){_B}"
)
_MAY: Final = (
    r"(?i)n['’]t|not[ ,]|cant |dont |cannot|can no|can neither|unable|incapable|refus|decline|refrain|sorry|afraid"
    r"|apolog|prohibited|prevent",
    r"(?i)forb|[ ,]lack|have no |against (?:my|our|openai|content|usage|safety|community|ethical|the (?:con|us|saf"
    r"|com|eth))|advise|urge against"
    r"|caution|recommend|violat|breach|conflicts|never|prefer|would rather|choose not|appropriate|ethical|moral"
    r"|acceptable|irresponsible|respectful"
    r"|offensive|illegal|harmful|wrong to|discriminat|inaccurate|unfair|(?:important|crucial|essential|necessary"
    r"|vital) to",
    r"(?i) ai[ ,.-]|artificial|language model|ai model|chatbot|assistant|guidelines|programming|policies|training"
    r"|principles|my (?:purpose|primary|know)"
    r"|(?:['’]m|im| am|was) (?:an? ai|programmed|designed to|trained to|just an|only an|merely an|simply an"
    r"|still an)|please|failed to"
    r"|no (?:image|picture|photo|visual|file|attach|link|url|text)",
    r"(?i) nicht| kein|sprachmodell|als (?:eine? )?(?:[a-z]+ )?ki|künstliche|verstößt| ne | n['’]|impossible"
    r"|incapa|tant qu|contraire|contre (?:mes|nos|aux)"
    r"|no (?:puedo|podemos|podría|podré|me es|soy|estoy|tengo|se ha)|como (?:un|ia|int|mod|as|gran)|(?:contra"
    r"|viola) (?:de )?(?:mis|las|nuestras|as|min)",
    r"(?i)non (?:posso|possiamo|potrei|sono|mi|ho)|in quanto|essendo|come (?:ia|un|int|mod|as|grande)|nessuna"
    r"|contro (?:le|la)|não |nao |nenhuma"
    r"| niet| geen|taalmodel|als (?:een )?ai|kunstmatige| не |языков| ии|ии-|искусствен|противореч|у меня нет",
    r"[无無]法|不(?:能|可以|会|會|便|愿)|[办辦]法|能力|拒[绝絕]|抱歉|[对對]不起|不好意思|[遗遺]憾|作[为為]"
    r"|身[为為]|我(?:只)?是|[没沒]有|未|违反"
    r"|ません|ない|かね|人工知能|モデル|として|である私|なので|で(?:すの|すか|)[でら]|私は|わたしは|画像[がは]"
    r"|없|못합|않|어렵|불가|인공지능|모델|로[서써]|이기 때문|이므로|이라서|입니다",
)
"""A cheap first look: every pattern above needs one of these, most captions have none."""


def may_refuse(text: pl.Expr) -> pl.Expr:
    """Whether a text can refuse at all: false for most captions, true for every text of which `refuses` is."""
    return pl.any_horizontal(text.str.contains(pattern) for pattern in _MAY)


def refuses(text: pl.Expr) -> pl.Expr:
    """Whether a sentence, or any sentence of a text, refuses. Quotations are not looked at: see QUOTED."""
    return pl.any_horizontal(text.str.contains(pattern) for pattern in _PATTERNS)


def moralizes(text: pl.Expr) -> pl.Expr:
    """Whether a sentence judges a request instead of answering it; one that opens a text does ("It is never okay to ...")."""
    return text.str.contains(_MORALIZES)


BESIDE: Final = (
    r"(?i)\A\W*(?:just |simply |so |please |but |however,? )?(?:"
    r"(?:(?:i['’]?m |i am )?(?:so |very |really |truly |deeply )?sorry|(?:i|my) (?:sincere(?:st)? )?apologi[sz]es?"
    r"|i apologi[sz]e)"
    r"(?: (?:about|for) (?:that|this|the inconvenience|any inconvenience|any confusion))?\W*\z"
    r"|(?:please|kindly) (?:provide|upload|try|let me|feel free|share|send)"
    r"|(?:hi|hello|hey|greetings)(?: there)?\W*\z|thank(?:s| you)(?: [a-z]+){0,8}\W*\z|no\W*\z"
    r"|i (?:understand|appreciate|see|hear|realize|realise|know)(?: that)? (?:you|your|this|the|it)(?-u:\b)"
    r"|i(?:['’]?m| am) (?:so |very |really |truly |deeply )?sorry (?:to hear|that|you)"
    r"|if you (?:have|need|want|would|can|could|provide)|is there (?:anything|something) else|let me know|feel free"
    r"|i(?:['’]d| would|['’]ll| will)? (?:be (?:happy|glad) to|can (?:still )?help)"
    r"|(?:es )?tut mir (?:sehr |wirklich )?leid\W*\z|entschuldigung\W*\z"
    r"|(?:je suis )?(?:sincèrement )?désolée?\W*\z|(?:lo siento|lo lamento)(?: mucho)?\W*\z"
    r"|(?:mi dispiace|mi spiace|scusa)\W*\z|(?:desculpe|sinto muito|lamento)\W*\z|het spijt me\W*\z|(?:извините"
    r"|простите)\W*\z"
    r"|(?:很|非常|十分)?(?:抱歉|对不起|對不起)\W*\z|(?:大変)?申し訳(?:ありません|ございません)\W*\z|죄송합니다\W*\z"
    r")"
)
"""Sentences that stand beside a refusal and count only there."""

QUOTED: Final = (
    r"\"[^\"\n]{0,400}\"|“[^”\n]{0,400}”|«[^»\n]{0,400}»|„[^“”\n]{0,400}[“”]|「[^」\n]{0,400}」|『[^』\n]{0,400}』"
    r"|‘[^\n]{1,400}?’(\W|\z)|(\A|[\s(])'[^\n]{1,400}?'(\W|\z)"
    r"|(\S\s)[\"“][^\"”\n]*\z"  # a quotation that the end of the text leaves open
    # a quotation without marks
    r"|((?i:says?|saying|reads?|reading|states|stating|words|text|titled|slogan|message)[ \t:,]{1,3})"
    r"(?i:i['’]m|i|we|sorry|as an)(?-u:\b)[^.!?\n]*"
)
"""Text that a caption quotes: what a shirt or a sign says. Its groups stay when a quotation is taken out."""
